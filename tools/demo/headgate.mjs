// The proxy of the demo: a Fastify app of its own with the balancer, health checks, metrics and the dashboard, and one route that
// changes weights at run time. It tells its parent when an upstream's state changes.
// Arguments: the port, then one NAME=URL for each upstream.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [port, ...upstreams] = process.argv.slice(2)
// The workspace's root has no dependencies of its own: what the headgate package has is used.
const require = createRequire(join(import.meta.dirname, '../../packages/headgate/package.json'))
const { default: fastify } = await import(pathToFileURL(require.resolve('fastify')).href)
const plugin = async (name) => (await import(pathToFileURL(join(import.meta.dirname, `../../packages/${name}/dist/index.js`)).href)).default
const [balancer, health, metrics, admin] = await Promise.all(['balancer', 'health', 'metrics', 'admin'].map(plugin))

// Each change is a line of the log too, as JSON: here it is told in words instead.
const app = fastify({ logger: { level: 'error' } })
// It listens on this machine alone: whoever is on it may look and change.
await app.register(metrics, { route: { unsafe: true }, scaling: { concurrency: 8 } })
await app.register(admin, { unsafe: true })
await app.register(balancer, {
  pools: {
    web: {
      upstreams: upstreams.map((text) => {
        const [id, url] = text.split('=')
        return { id, url }
      }),
      policy: 'weighted-round-robin'
    }
  },
  routes: [{ prefix: '/', pool: 'web' }]
})
await app.register(health, { check: { path: '/', interval: 500, timeout: 5000 }, routes: { upstreams: true, ready: true } })
app.balancer.pool('web').on('state', ({ id }, { from, to, reason }) => process.send?.({ state: `${id}: ${from} → ${to} (${reason})` }))

const show = () => app.balancer.pool('web').upstreams.map(({ id, url, configuredWeight, ready }) => ({ id, url, weight: configuredWeight, ready }))
app.get('/demo/upstreams', show)
app.post('/demo/weight', {
  schema: {
    querystring: {
      type: 'object',
      required: ['id', 'weight'],
      properties: {
        id: { type: 'string', enum: upstreams.map((text) => text.split('=')[0]) },
        weight: { type: 'number', minimum: 0, maximum: 65535 }
      }
    }
  }
}, (request) => {
  app.balancer.pool('web').setWeight(request.query.id, request.query.weight)
  return show()
})

try {
  await app.listen({ host: '127.0.0.1', port: Number(port) })
} catch (error) {
  process.send({ error: error.message })
  process.exit(1)
}
process.send({ port: app.server.address().port })

const stop = () => app.close().then(() => process.exit(0))
process.on('SIGTERM', stop)
process.on('SIGINT', () => {})
process.on('disconnect', stop)
