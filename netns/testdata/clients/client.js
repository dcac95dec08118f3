// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0
//
// client.js HOST CA MODULES: does with Node's clients what programs do, and prints a
// line "WHAT: WHAT CAME OF IT" for each. NODE_EXTRA_CA_CERTS has the authority.
'use strict'
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const http = require('node:http')
const http2 = require('node:http2')
const https = require('node:https')

const [host, ca, modules] = process.argv.slice(2)
const WebSocket = require(modules + '/ws')
const bound = 45000
const many = Array.from({ length: 20 }, (_, n) => n)
const big = Buffer.from('0123456789abcdef'.repeat(512 << 10))
const sha = data => createHash('sha256').update(data).digest('hex')

async function fact(what, doing) {
  const start = Date.now()
  let timer
  const late = new Promise(resolve => { timer = setTimeout(resolve, bound, 'too slow') })
  const done = doing().catch(err => {
    console.error(`${what}: ${err.cause ?? err}`)
    return 'error'
  })
  console.log(`${what}: ${await Promise.race([done, late])}`)
  clearTimeout(timer)
  console.error(`${what} took ${Date.now() - start} ms`)
}

const text = async (url, options) => (await fetch(url, options)).text()
const distinct = answers => new Set(answers.map(a => a.headers.get('x-connection'))).size

async function useFetch(name, url) {
  await fact(`fetch ${name}`, () => text(url))
  await fact(`fetch ${name} kept`, async () => {
    const answers = []
    for (let n = 0; n < 3; n++) {
      // A connection is put back a little after the answer's end.
      await new Promise(resolve => setTimeout(resolve, 50))
      answers.push(await fetch(url))
      await answers[n].text()
    }
    return distinct(answers)
  })
  await fact(`fetch ${name} download`, async () => sha(Buffer.from(await (await fetch(url + '/down')).arrayBuffer())))
  await fact(`fetch ${name} upload`, () => text(url + '/up', { method: 'POST', body: big }))
  await fact(`fetch ${name} at once`, async () => (await Promise.all(many.map(n => text(`${url}/?${n}`)))).length)
  await fact(`fetch ${name} cut`, () => text(url + '/cut'))
  await fact(`fetch ${name} after`, () => text(url))
}

// ask makes a request with node:http or node:https.
function ask(url, options, body) {
  return new Promise((resolve, reject) => {
    const r = (url.startsWith('https') ? https : http).request(url, options, answer => {
      const parts = []
      answer.on('data', part => parts.push(part))
      answer.on('error', reject)
      answer.on('end', () => resolve({ body: Buffer.concat(parts), from: answer.headers['x-connection'] }))
    })
    r.on('error', reject)
    r.end(body)
  })
}

async function useAgent(name, url, agent) {
  const options = { agent, ca: fs.readFileSync(ca) }
  await fact(`agent ${name} kept`, async () => {
    const from = new Set()
    for (let n = 0; n < 3; n++) from.add((await ask(url, options)).from)
    return from.size
  })
  await fact(`agent ${name} upload`, async () => (await ask(url + '/up', { ...options, method: 'POST' }, big)).body.toString())
  await fact(`agent ${name} download`, async () => sha((await ask(url + '/down', options)).body))
  await fact(`agent ${name} at once`, async () => (await Promise.all(many.map(n => ask(`${url}/?${n}`, options)))).length)
  await fact(`agent ${name} cut`, async () => (await ask(url + '/cut', options)).body)
  // On a connection that has been used, as the agent keeps them.
  await ask(url, options)
  await fact(`ws ${name}`, () => useWebSocket(url.replace('http', 'ws') + '/ws', options))
  agent.destroy()
}

function useWebSocket(url, options) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, options)
    const got = []
    ws.on('error', reject)
    ws.on('open', () => ws.send('hello'))
    ws.on('message', (data, binary) => {
      got.push(binary ? sha(data) : data)
      if (binary) ws.close(1000)
      else ws.send(big)
    })
    ws.on('close', code => resolve(`${got.join(' ')} ${code}`))
  })
}

async function useHTTP2() {
  const session = http2.connect('https://' + host, { ca: fs.readFileSync(ca) })
  session.on('error', () => {})
  const stream = (path, body) => new Promise((resolve, reject) => {
    const s = session.request({ ':path': path, ':method': body ? 'POST' : 'GET' })
    const parts = []
    let from
    s.on('response', headers => { from = headers['x-connection'] })
    s.on('data', part => parts.push(part))
    s.on('end', () => s.rstCode ? reject(new Error(`stream ended by ${s.rstCode}`)) : resolve({ body: Buffer.concat(parts), from }))
    s.on('error', reject)
    s.end(body)
  })
  await fact('http2 streams', async () => {
    const answers = await Promise.all(many.map(n => stream(`/?${n}`)))
    return `${answers.length} on ${new Set(answers.map(a => a.from)).size}`
  })
  await fact('http2 download', async () => sha((await stream('/down')).body))
  await fact('http2 upload', async () => (await stream('/up', big)).body.toString())
  await fact('http2 cut', async () => (await stream('/cut')).body)
  await fact('http2 after', async () => (await stream('/')).body.toString())
  session.close()
}

async function main() {
  await useFetch('http', 'http://' + host)
  await useFetch('https', 'https://' + host)
  await useAgent('http', 'http://' + host, new http.Agent({ keepAlive: true, maxSockets: 4 }))
  await useAgent('https', 'https://' + host, new https.Agent({ keepAlive: true, maxSockets: 4 }))
  await useHTTP2()
  await fact('refused name', () => text('http://other.test/'))
  process.exit() // fetch keeps connections
}

main()
