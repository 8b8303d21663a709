// The least that a proxy on Node's own HTTP server does: no router, no hooks, no checks, no deadlines, no choice, no repetition, no
// backpressure; heads are passed on as they came. What it takes is the floor for every proxy that is a Node HTTP server's listener.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createSecureServer as createHttp2Server } from 'node:http2'
import { createServer as createSecureServer } from 'node:https'
import { connect } from 'node:net'

const objectOf = (list) => {
  const fields = {}
  for (let i = 0; i < list.length; i += 2) fields[list[i].toLowerCase()] = list[i + 1]
  return fields
}

const END = Buffer.from('\r\n\r\n')

/** `tls`: key, certificate and versions; without, plain HTTP. `http2`: to clients. Gives the server, which listens. */
export async function startBare (upstream, tls, http2 = false, port = 0) {
  const idle = []
  const open = () => {
    let response
    let left = 0
    const buffer = Buffer.allocUnsafeSlow(262_144)
    const done = () => {
      response.end()
      response = undefined
      idle.push(connection)
    }
    const callback = (count, chunk) => {
      let from = 0
      const client = http2 ? undefined : response.socket
      client?.cork()
      if (left === 0) {
        from = chunk.indexOf(END) + 4
        const lines = chunk.latin1Slice(0, from - 4).split('\r\n')
        const list = []
        for (let i = 1; i < lines.length; i++) {
          const at = lines[i].indexOf(': ')
          const name = lines[i].slice(0, at)
          const value = lines[i].slice(at + 2)
          if (name.length === 14) left = Number(value)
          if (name.length !== 10) list.push(name, value)
        }
        response.writeHead(Number(lines[0].slice(9, 12)), http2 ? undefined : lines[0].slice(13), http2 ? objectOf(list) : list)
      }
      left -= count - from
      if (count - from <= 8192) response.write(chunk.latin1Slice(from, count), 'latin1')
      // The buffer is read into again while the client may not have taken this piece: what comes out is the right length, no more.
      else response.write(chunk.subarray(from, count))
      client?.uncork()
      if (left === 0) done()
      return true
    }
    const socket = connect({ port: upstream, host: '127.0.0.1', noDelay: true, onread: { buffer, callback } })
    socket.on('error', () => {})
    const connection = { socket, use: (to) => { response = to } }
    return connection
  }
  const answer = (request, response) => {
    const connection = idle.pop() ?? open()
    connection.use(response)
    let head = `${request.method} ${request.url} HTTP/1.1\r\n`
    if (http2) head += `Host: ${request.authority}\r\n`
    const { rawHeaders } = request
    // Ten letters are Connection, which is the client's own.
    for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i][0] !== ':' && rawHeaders[i].length !== 10) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`
    connection.socket.write(head + '\r\n', 'latin1')
    if (request.headers['content-length'] !== undefined) request.on('data', (chunk) => { connection.socket.write(chunk) })
  }
  const options = { keepAliveTimeout: 600_000, ...tls }
  const server = http2 ? createHttp2Server(options, answer) : tls === undefined ? createServer(options, answer) : createSecureServer(options, answer)
  await once(server.listen(port, '127.0.0.1'), 'listening')
  return server
}
