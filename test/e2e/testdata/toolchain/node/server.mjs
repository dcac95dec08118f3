import { readFileSync } from "node:fs";
const { name } = JSON.parse(readFileSync(new URL("package.json", import.meta.url)));
console.log(`hello from node, ${name}, ${process.env.NODE_ENV}`);
