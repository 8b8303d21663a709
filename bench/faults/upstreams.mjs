// Two upstreams, a bad one and a good one, that speak raw bytes and count what reached them.
import { createServer } from 'node:net'

export const BODY = Buffer.alloc(400_000, 'headgate')
const head = (lines) => `HTTP/1.1 ${lines.join('\r\n')}\r\n\r\n`
const plain = (status, ...fields) => head([status, 'Content-Length: 2', ...fields]) + 'ok'
const HALF = BODY.length / 2

/** What an upstream does with a request that is complete; `first`: the first one on its connection. */
export const faults = {
  good: (socket, request) => {
    const [, from] = /\r\nrange: bytes=(\d+)-/i.exec(request) ?? []
    if (!request.includes(' /file ')) return socket.write(plain('200 OK'))
    const part = BODY.subarray(Number(from ?? 0))
    const range = from === undefined ? [] : [`Content-Range: bytes ${from}-${BODY.length - 1}/${BODY.length}`]
    socket.write(head([from === undefined ? '200 OK' : '206 Partial Content', `Content-Length: ${part.length}`, 'ETag: "v1"', 'Accept-Ranges: bytes', ...range]))
    socket.write(part)
  },
  reset: (socket) => { socket.resetAndDestroy() },
  halfHead: (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Le', () => { setTimeout(() => { socket.destroy() }, 20) }) },
  malformed: (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk') },
  race: (socket, request, first) => {
    if (first) socket.write(plain('200 OK'))
    else socket.resetAndDestroy()
  },
  silent: () => {},
  busy: (socket) => { socket.write(plain('503 Service Unavailable')) },
  tooMany: (socket) => { socket.write(plain('429 Too Many Requests', 'Retry-After: 1')) },
  breaks: (socket) => {
    socket.write(head(['200 OK', `Content-Length: ${BODY.length}`, 'ETag: "v1"', 'Accept-Ranges: bytes']))
    socket.write(BODY.subarray(0, HALF), () => { setTimeout(() => { socket.destroy() }, 20) })
  },
  breaksChunked: (socket) => {
    socket.write(head(['200 OK', 'Transfer-Encoding: chunked']))
    socket.write('5\r\nhello\r\n', () => { setTimeout(() => { socket.destroy() }, 20) })
  }
}

/** An upstream whose behaviour can be changed while it runs; `requests` holds every head that came in whole. */
export async function startUpstream () {
  const upstream = { behave: faults.good, requests: [] }
  const sockets = new Set()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => { sockets.delete(socket) }).on('error', () => {})
    let text = ''
    let first = true
    socket.on('data', (data) => {
      text += data.toString('latin1')
      for (;;) {
        const end = text.indexOf('\r\n\r\n')
        if (end === -1) return
        const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
        if (/\r\nexpect: 100-continue/i.test(text.slice(0, end)) && text.length === end + 4) return void socket.write('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno')
        if (text.length < end + 4 + length) return
        const request = text.slice(0, end + 4)
        text = text.slice(end + 4 + length)
        if (!/^[A-Z]+ /.test(request)) continue
        upstream.requests.push(request)
        upstream.behave(socket, request, first)
        first = false
      }
    })
  })
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  upstream.port = server.address().port
  upstream.stop = () => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => { server.close(resolve) })
  }
  return upstream
}
