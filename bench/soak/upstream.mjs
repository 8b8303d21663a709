// An origin server of the soak run, with faults: node upstream.mjs SEED. Prints its port.
import { createServer } from 'node:http'
import { seeded } from '@headgate/core'

const random = seeded(Number(process.argv[2]))
const BODY = Buffer.alloc(20_000, 'x')

createServer({ keepAliveTimeout: 50 }, (request, response) => {
  request.resume()
  const chance = random()
  // One request in fifty meets a fault, each of the kinds that a proxy has to bear.
  if (chance < 0.004) return request.socket.resetAndDestroy()
  if (chance < 0.008) return request.socket.end()
  if (chance < 0.011) return response.writeHead(503).end('busy')
  if (chance < 0.014) return request.socket.end('HTTP/1.1 two hundred\r\n\r\n')
  response.setHeader('etag', '"soak"')
  response.setHeader('accept-ranges', 'bytes')
  if (chance < 0.018) {
    response.setHeader('content-length', BODY.length)
    return response.write(BODY.subarray(0, 7000), () => { request.socket.destroy() })
  }
  if (chance < 0.02) return setTimeout(() => { response.end(BODY) }, 300)
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  if (range !== null) {
    const [first, last] = [Number(range[1]), Number(range[2])]
    response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${BODY.length}`, 'content-length': last - first + 1 })
    return response.end(BODY.subarray(first, last + 1))
  }
  response.setHeader('content-length', BODY.length)
  response.end(BODY)
}).listen(0, '127.0.0.1', function () { console.log(this.address().port) })
