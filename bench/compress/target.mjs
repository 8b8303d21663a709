// One of the compared servers in a process of its own: node target.mjs '{"name":…,"backend":PORT}'; prints its port.
// Paths: /same/N (one Buffer, sent again and again) and /new/N (bytes that nobody has seen before); encodings at the levels
// that all targets have: gzip 6, br 4, zstd 3.
import balancer from '@headgate/balancer'
import compress from '@headgate/compress'
import fastifyCompress from '@fastify/compress'
import httpProxy from '@fastify/http-proxy'
import replyFrom from '@fastify/reply-from'
import fastify from 'fastify'
import { Readable } from 'node:stream'
import zlib from 'node:zlib'
import { bodies } from './bodies.mjs'
import { uniqueBodies } from './unique.mjs'

const { name, backend, sizes = [], syncThreshold } = JSON.parse(process.argv[2])
const upstream = `http://127.0.0.1:${backend}`
const app = fastify()
let count = 0

switch (name) {
  case 'headgate':
  case 'headgate-proxy':
    // The load guard would stop compressing, as each measurement keeps the event loop at its limit; no second, smaller encoding.
    await app.register(compress, { load: false, backgroundShare: 0 })
    break
  case 'fastify-compress':
  case 'http-proxy':
  case 'reply-from':
    await app.register(fastifyCompress, {
      ...syncThreshold !== undefined && { syncThreshold }, zlibOptions: { level: 6 }, brotliOptions: { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }
    })
    break
  case 'backend':
  case 'plain-proxy':
  case 'plain-http-proxy':
    break
  default:
    throw new Error(`unknown target '${name}'`)
}

if (name === 'headgate-proxy' || name === 'plain-proxy') await app.register(balancer, { pools: { web: [upstream] }, routes: [{ prefix: '/', pool: 'web' }] })
else if (name === 'http-proxy' || name === 'plain-http-proxy') await app.register(httpProxy, { upstream })
else if (name === 'reply-from') {
  await app.register(replyFrom, { base: upstream })
  app.get('/*', (request, reply) => reply.from(request.raw.url))
} else {
  for (const size of sizes) {
    const { next, texts } = uniqueBodies(size)
    app.get(`/unique/${size}`, (_request, reply) => {
      const { type, body } = next()
      return reply.type(type).send(body)
    })
    app.get(`/text/${size}/:n`, (request, reply) => {
      const { type, text } = texts[request.params.n]
      return reply.type(type).send(text)
    })
  }
  for (const [index, { type, body }] of bodies.entries()) {
    app.get(`/same/${index}`, (_request, reply) => reply.type(type).send(body))
    app.get(`/new/${index}`, (_request, reply) => {
      const copy = Buffer.from(body)
      copy.write((++count).toString(36).padStart(8, '0'), 300, 'latin1')
      return reply.type(type).send(copy)
    })
    // Its first 100 bytes at once, the rest later.
    const late = async function * () {
      yield body.subarray(0, 100)
      await new Promise((resolve) => { setTimeout(resolve, 300) })
      yield body.subarray(100)
    }
    app.get(`/slow/${index}`, (_request, reply) => reply.type(type).send(Readable.from(late())))
  }
}
await app.listen({ port: 0, host: '127.0.0.1' })
console.log(app.server.address().port)
process.on('SIGTERM', () => process.exit())
