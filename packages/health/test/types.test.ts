import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { HealthOptions, HealthSnapshot } from '../src/index.ts'

// Compiling is the test: `npm run types` fails where an expected error does not come.
const good: HealthOptions[] = [
  {},
  { check: false, passive: false, load: false, agent: false },
  { check: { interval: 200 } },
  { check: { path: '/healthz', statuses: [200, '300-399'], body: /well/i } },
  { check: { type: 'http', body: (json) => json === true } },
  { check: { send: 'PING', expect: '+PONG' } },
  { check: { type: 'grpc', service: 'x', initial: 'wait' } },
  { check: { type: 'exec', command: 'true' } },
  { check: { type: 'ping', port: 1, url: ({ id }) => `http://${id}` } },
  { check: async (upstream, signal) => upstream.ready && !signal.aborted },
  { check: () => ({ ok: false, reason: 'because' }), routes: { ready: true, live: '/livez', upstreams: { path: '/x', onRequest: [] } } }
]

const bad: HealthOptions[] = [
  // @ts-expect-error a misspelt option
  { chek: {} },
  // @ts-expect-error an unknown type of check
  { check: { type: 'smtp' } },
  // @ts-expect-error an option of another type of check
  { check: { type: 'grpc', path: '/' } },
  // @ts-expect-error a program is needed
  { check: { type: 'exec' } },
  // @ts-expect-error a function that gives a text
  { check: () => 'well' },
  // @ts-expect-error an unknown initial state
  { check: { initial: 'maybe' } },
  // @ts-expect-error an agent without a port
  { agent: {} }
]

export function uses (app: FastifyInstance): HealthSnapshot {
  app.health.force('web', 'id', 'drain', 'why')
  app.health.force('web', 'id', undefined)
  // @ts-expect-error no such state
  app.health.force('web', 'id', 'down')
  const ready: boolean = app.health.ready
  // @ts-expect-error nobody sets it
  app.health.ready = !ready
  return app.health.snapshot()
}

t.test('types', async (t) => {
  t.equal(good.length + bad.length, 18)
})
