// A small JSON answer, as fast as node:http gives it; prints its port.
import { createServer } from 'node:http'

const body = Buffer.from(JSON.stringify({ message: 'x'.repeat(106) }))
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length })
  response.end(body)
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
