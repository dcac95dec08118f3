// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0
//
// The Messages API as far as one task needs it, on 127.0.0.1:8123: the first answer asks
// for a command of the tool Bash, the next one ends the turn. Prints a line a request.
import http from "node:http";

const command = "uname -s >made && cat made";

function answer(request) {
  const done = (request.messages ?? []).some((m) => Array.isArray(m.content) && m.content.some((c) => c.type === "tool_result"));
  if ((request.tools ?? []).some((t) => t.name === "Bash") && !done) {
    return {
      block: { type: "tool_use", id: "toolu_1", name: "Bash", input: {} },
      delta: { type: "input_json_delta", partial_json: JSON.stringify({ command, description: "name the kernel" }) },
      stop: "tool_use",
    };
  }
  return { block: { type: "text", text: "" }, delta: { type: "text_delta", text: "The task is done." }, stop: "end_turn" };
}

http.createServer((req, res) => {
  let body = "";
  req.on("data", (data) => (body += data));
  req.on("end", () => {
    console.log(req.method, req.url.split("?")[0], req.headers["x-api-key"] ?? "no key");
    if (!req.url.startsWith("/v1/messages")) {
      res.writeHead(404).end();
      return;
    }
    const request = JSON.parse(body);
    const { block, delta, stop } = answer(request);
    const message = { id: "msg_1", type: "message", role: "assistant", model: request.model, content: [], stop_reason: null, usage: { input_tokens: 1, output_tokens: 1 } };
    if (!request.stream) {
      res.writeHead(200, { "content-type": "application/json" });
      res.end(JSON.stringify({ ...message, content: [{ type: "text", text: "The task is done." }], stop_reason: "end_turn" }));
      return;
    }
    res.writeHead(200, { "content-type": "text/event-stream" });
    const send = (type, value) => res.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...value })}\n\n`);
    send("message_start", { message });
    send("content_block_start", { index: 0, content_block: block });
    send("content_block_delta", { index: 0, delta });
    send("content_block_stop", { index: 0 });
    send("message_delta", { delta: { stop_reason: stop }, usage: { output_tokens: 1 } });
    send("message_stop", {});
    res.end();
  });
}).listen(8123, "127.0.0.1");
