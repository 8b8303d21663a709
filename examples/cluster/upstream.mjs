// One upstream: node upstream.mjs ADDRESS PORT. It says on stdout when it listens; SIGTERM ends it when what it does is done.
import { createServer } from 'node:http'

const [address, port] = process.argv.slice(2)
const server = createServer((request, response) => {
  if (request.url.startsWith('/cached/')) response.setHeader('cache-control', 'max-age=5')
  response.setHeader('content-type', 'text/plain')
  // Some work.
  setTimeout(() => { response.end(`${address} ${request.url}\n`) }, request.url === '/healthz' ? 0 : 10)
})
server.listen(Number(port), address, () => { process.stdout.write('listening\n') })
process.on('SIGTERM', () => { server.close(() => { process.exit(0) }) })
