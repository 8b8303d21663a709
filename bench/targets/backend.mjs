// The backend where there is no nginx: answers /small, /10k …, /item/N and POST /post.
import { createServer } from 'node:http'

const { sizes, small, ports } = JSON.parse(process.argv[2])
const bodies = new Map([['/small', Buffer.from(small)], ...Object.entries(sizes).map(([name, size]) => [`/${name}`, Buffer.alloc(size, 'abcdefghijklmnop')])])
const answer = (request, response) => {
  if (request.method === 'POST') return request.resume().on('end', () => { response.writeHead(200, { 'content-length': 2 }).end('ok') })
  const body = bodies.get(request.url) ?? bodies.get('/small')
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length })
  response.end(body)
}
const servers = [...ports, 0].map((port) => createServer({ keepAliveTimeout: 600_000 }, answer).listen(port, '127.0.0.1'))
const last = servers.at(-1)
last.on('listening', () => { console.log(last.address().port) })
