// An upstream that takes its time for each answer.
import { createServer } from 'node:http'

const { delay } = JSON.parse(process.argv[2])
const server = createServer({ keepAliveTimeout: 600_000 }, (_request, response) => {
  setTimeout(() => { response.writeHead(200, { 'content-length': 2 }).end('ok') }, delay)
})
server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
