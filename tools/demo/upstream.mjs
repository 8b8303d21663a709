// A small origin server: says who it is, under /work after a moment of work. Arguments: its name, and its port (0: any free one).
import { createServer } from 'node:http'

const name = process.argv[2] ?? 'upstream'
const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/json')
  const answer = () => response.end(`${JSON.stringify({ upstream: name, pid: process.pid, method: request.method, url: request.url })}\n`)
  if (request.url.startsWith('/work')) setTimeout(answer, 5 + Math.random() ** 3 * 60)
  else answer()
})
// Longer than the proxy's own patience: on a busy machine a connection would else be closed at the moment of its use, and the
// request go to another upstream.
server.keepAliveTimeout = 60_000
server.listen(Number(process.argv[3] ?? 0), '127.0.0.1', () => process.send({ port: server.address().port }))
const stop = () => {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
}
process.on('SIGTERM', stop)
process.on('SIGINT', () => {}) // Ctrl-C reaches the whole group; the parent decides the order.
process.on('disconnect', stop)
