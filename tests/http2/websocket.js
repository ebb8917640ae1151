// WebSocket over HTTP/2 (RFC 8441): `node websocket.js serve PORT NAME`, `node websocket.js call PORT KEY`. The server gives
// each frame back behind its name, unmasked; the client sends masked text frames on one stream of many.
'use strict'
const http2 = require('http2')
const crypto = require('crypto')
const [, , role, port, name] = process.argv

function frames (stream, take) {
  let held = Buffer.alloc(0)
  stream.on('data', data => {
    held = Buffer.concat([held, data])
    while (held.length >= 2) {
      const masked = held[1] & 128
      let size = held[1] & 127
      let at = 2
      if (size === 126) {
        if (held.length < 4) return
        size = held.readUInt16BE(2)
        at = 4
      }
      const mask = masked ? held.subarray(at, at + 4) : null
      if (masked) at += 4
      if (held.length < at + size) return
      const payload = Buffer.from(held.subarray(at, at + size))
      if (mask) for (let n = 0; n < size; n++) payload[n] ^= mask[n & 3]
      const code = held[0] & 15
      held = held.subarray(at + size)
      take(code, payload)
    }
  })
}

function frame (code, payload, masked) {
  const head = payload.length < 126 ? Buffer.from([128 | code, payload.length]) : Buffer.from([128 | code, 126, payload.length >> 8, payload.length & 255])
  if (!masked) return Buffer.concat([head, payload])
  head[1] |= 128
  const mask = crypto.randomBytes(4)
  const hidden = Buffer.from(payload)
  for (let n = 0; n < hidden.length; n++) hidden[n] ^= mask[n & 3]
  return Buffer.concat([head, mask, hidden])
}

function serve () {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } })
  server.on('stream', (stream, head) => {
    stream.on('error', () => {})
    if (head[':method'] !== 'CONNECT') {
      stream.respond({ ':status': 200 })
      stream.end(name)
      return
    }
    stream.respond({ ':status': head[':protocol'] === 'websocket' ? 200 : 501 })
    frames(stream, (code, payload) => {
      if (code === 8) stream.end(frame(8, payload))
      else stream.write(frame(1, Buffer.concat([Buffer.from(name + ':'), payload])))
    })
  })
  server.listen(Number(port), '127.0.0.1')
  process.on('SIGTERM', () => process.exit(0))
}

function call () {
  const client = http2.connect('http://127.0.0.1:' + port)
  let left = 2
  const asked = client.request({ ':path': '/' }) // the sidecar offers it when the application has
  asked.resume()
  client.on('remoteSettings', settings => {
    if (!settings.enableConnectProtocol || left < 2) return
    for (const key of ['', name]) {
      const stream = client.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':path': '/chat', ':authority': 'users', 'sec-websocket-version': '13', ...(key ? { baggage: 'routing-key=' + key } : {}) }, { endStream: false })
      const want = []
      for (let n = 0; n < 50; n++) want.push('m'.repeat(1 + n * 400))
      stream.on('response', head => {
        if (head[':status'] !== 200) throw new Error('status ' + head[':status'])
        for (const text of want) stream.write(frame(1, Buffer.from(text), true))
      })
      let got = 0
      frames(stream, (code, payload) => {
        if (code === 8) return
        if (payload.toString() !== (key ? 'shadow:' : 'base:') + want[got]) throw new Error('got ' + payload)
        if (++got === want.length) stream.end(frame(8, Buffer.from([3, 232]), true))
      })
      stream.on('close', () => {
        if (got !== want.length) throw new Error('closed after ' + got)
        if (!--left) {
          console.log('two sockets of 50 messages')
          client.close()
        }
      })
    }
  })
}

if (role === 'serve') serve()
else call()
