// One Fastify app by configuration: { kind, ports, features, log, tls, http2, … }.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'

function skip (why) {
  console.error(why)
  process.exit(3)
}

/** One of the workspace's packages, as built; those that are not there are left out of the comparison. */
async function optional (name) {
  const path = new URL(`../../packages/${name}/dist/index.js`, import.meta.url)
  if (!existsSync(path)) skip(`@headgate/${name} is not there`)
  return (await import(path.href)).default
}

export const secretsOf = (tls) => tls === undefined ? undefined : { key: readFileSync(tls.key), cert: readFileSync(tls.cert), minVersion: 'TLSv1.3' }

/** `port`: the one to listen on, where it must be known before. */
export async function startApp (config) {
  const { kind, ports = [], features = [], log, tls, http2, port = 0 } = config
  const upstreams = ports.map((each) => `http://127.0.0.1:${each}`)
  const secrets = secretsOf(tls)
  const app = Fastify({
    ...(log !== undefined && { logger: { level: 'info', file: log } }),
    ...(http2 === true && { http2 }),
    ...(secrets !== undefined && { https: secrets }),
    keepAliveTimeout: 600_000
  })
  const body = Buffer.from(JSON.stringify({ message: 'x'.repeat(106) }))
  if (features.includes('cache')) await app.register(await optional('cache'), config.cache ?? {})
  if (features.includes('compress')) await app.register(await optional('compress'), config.compress ?? {})
  if (features.includes('@fastify/compress')) await app.register((await import('@fastify/compress')).default, config.compress ?? {})
  if (features.includes('hook')) app.addHook('onResponse', (_request, _reply, done) => { done() })
  if (features.includes('onSend')) app.addHook('onSend', (_request, _reply, payload, done) => { done(null, payload) })
  if (features.includes('metrics')) await app.register(await optional('metrics'), { route: { path: '/metrics', unsafe: true } })
  switch (kind) {
    case 'headgate': {
      const { default: balancer } = await import('@headgate/balancer')
      const pool = { upstreams, ...config.pool }
      await app.register(balancer, { pools: { web: pool }, routes: [{ prefix: '/', pool: 'web', ...config.route }] })
      if (features.includes('sticky')) await app.register(await optional('sticky-session'), config.sticky ?? {})
      if (features.includes('health')) await app.register(await optional('health'), config.health ?? {})
      break
    }
    case 'fastify-http-proxy': {
      const { default: proxy } = await import('@fastify/http-proxy')
      await app.register(proxy, { upstream: upstreams[0], websocket: config.websocket === true })
      break
    }
    case 'reply-from': {
      const { default: replyFrom } = await import('@fastify/reply-from')
      await app.register(replyFrom, { base: upstreams[0] })
      // Bodies pass unread, as they do in the others.
      app.removeAllContentTypeParsers()
      app.addContentTypeParser('*', (_request, payload, done) => { done(null, payload) })
      app.all('/*', (request, reply) => reply.from(request.url))
      break
    }
    case 'hello':
      app.get('/*', (_request, reply) => { reply.type('application/json').send(body) })
      break
    case 'file': {
      // A route that sends Buffers of given sizes or texts.
      const bodies = new Map(Object.entries(config.bodies).map(([path, { size, text, type }]) => [path, { type, data: text === undefined ? Buffer.alloc(size, 'abcdefghijklmnop') : Buffer.from(text) }]))
      app.get('/*', { ...config.routeOptions }, (request, reply) => {
        if (request.headers['if-none-match'] === '"x"') return reply.code(304).header('cache-control', 'public, max-age=3600').header('etag', '"x"').send()
        const { type, data } = bodies.get(request.url) ?? { type: 'text/plain', data: body }
        reply.header('cache-control', 'public, max-age=3600').header('etag', '"x"').type(type).send(data)
      })
      break
    }
    default:
      throw new Error(`unknown kind '${kind}' in ${fileURLToPath(import.meta.url)}`)
  }
  await app.listen({ port, host: '127.0.0.1' })
  app.server.maxRequestsPerSocket = 0
  return app
}
