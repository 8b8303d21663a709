import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import fc from 'fast-check'
import t from 'tap'
import sticky, { type StickyOptions } from '../src/index.ts'
import { keys } from './helpers.ts'

const IDS = ['a', 'b', 'c', 'd', 'e']
const rule = { rise: 1, fall: 1 }

type Happening = 'down' | 'up' | 'eject' | 'readmit' | 'drain' | 'maintain' | 'release' | 'rest' | 'work' | 'add' | 'remove'
type Step = readonly ['ask', number] | readonly [Happening, number]

const happenings: Happening[] = ['down', 'up', 'up', 'eject', 'readmit', 'drain', 'maintain', 'release', 'release', 'rest', 'work', 'add', 'remove']
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.constant('ask' as const), fc.nat(2)) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom(...happenings), fc.nat(IDS.length - 1)) }
)

/** The real plugins over upstreams of the same process: as many sequences as sockets would never allow. */
async function build (options: StickyOptions): Promise<FastifyInstance> {
  const app = Fastify() as FastifyInstance
  await app.register(balancer, {
    pools: { web: { upstreams: IDS.slice(0, 3).map(member), policy: 'random', slowStart: 0, panicThreshold: 0 } }, routes: [{ prefix: '/', pool: 'web', retry: false }]
  })
  await app.register(sticky, options)
  return app
}

const origins = new Map(IDS.map((id) => {
  const app = Fastify()
  app.get('/', () => id)
  return [id, app]
}))
const member = (id: string): { app: FastifyInstance; id: string } => ({ app: origins.get(id)! as FastifyInstance, id })

async function happen (app: FastifyInstance, what: Happening, id: string): Promise<void> {
  const pool = app.balancer.pool('web')
  const upstream = pool.get(id)
  if (what === 'add') {
    if (upstream === undefined) pool.add(member(id))
    return
  }
  if (upstream === undefined) return
  const { health } = upstream
  switch (what) {
    case 'down': return void health.probed(false, 'test', rule)
    case 'up': return void health.probed(true, 'test', rule)
    case 'eject': return void health.eject('test', { base: 1e8, max: 1e9 })
    case 'readmit': return void health.readmit('test')
    case 'drain': return void health.force('drain', 'test')
    case 'maintain': return void health.force('maintenance', 'test')
    case 'release': return void health.force(undefined, 'test')
    case 'rest': return pool.setWeight(id, 0)
    case 'work': return pool.setWeight(id, 1)
    case 'remove': return pool.remove(id)
  }
}

/** What the rules say of a client of `home`: who may answer, and whom it belongs to afterwards. */
function expected (app: FastifyInstance, home: string | undefined, options: StickyOptions): { may: Set<string>; after: (by: string) => string | undefined } {
  const pool = app.balancer.pool('web')
  const upstream = home === undefined ? undefined : pool.get(home)
  const ready = new Set(pool.ready.map(({ id }) => id))
  const elsewhere = { may: ready.size === 0 ? new Set(['503']) : ready, after: (by: string) => by === '503' ? home : by }
  if (home === undefined || upstream === undefined) return elsewhere
  const leaving = upstream.health.state === 'draining' || upstream.configuredWeight === 0
  const stay = { may: new Set([home]), after: () => home }
  if (upstream.ready) return stay
  if (leaving && options.drain === 'move') return elsewhere
  if (leaving && (upstream.health.ready || upstream.health.state === 'draining')) return stay
  if (options.failover === 'strict') return { may: new Set(['503']), after: () => home }
  if (options.failover === 'borrow') return { may: elsewhere.may, after: () => home }
  return elsewhere
}

for (const failover of ['rebind', 'borrow', 'strict'] as const) {
  for (const drain of ['keep', 'move'] as const) {
    t.test(`a client's upstream changes only when a rule says so: ${failover}, ${drain}`, async (t) => {
      await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), fc.constantFrom('cookie', 'header', 'key'), async (steps, kind) => {
        const more = failover === 'borrow' ? { borrowTime: 86_400_000 } : {}
        const options = kind === 'cookie'
          ? { keys, failover, drain, ...more }
          : kind === 'header' ? { by: 'header', name: 'x-user', failover, drain, ...more } : { by: 'key', key: (request: { headers: Record<string, unknown> }) => request.headers['x-user'], failover, drain, ...more }
        const app = await build(options as StickyOptions)
        try {
          const homes: (string | undefined)[] = []
          const cookies: string[] = []
          for (const [what, n] of steps) {
            if (what !== 'ask') {
              await happen(app, what, IDS[n]!)
              continue
            }
            const { may, after } = expected(app, homes[n], options as StickyOptions)
            const response = await app.inject({ url: '/', headers: { 'x-user': `u${n}`, cookie: cookies[n] ?? '' } })
            const by = response.statusCode === 200 ? response.body : String(response.statusCode)
            if (!may.has(by)) throw new Error(`client ${n} of ${homes[n]} was answered by ${by}, not one of ${[...may].join()}`)
            homes[n] = after(by)
            const set = response.cookies[0]
            if (set !== undefined) cookies[n] = `${set.name}=${set.value}`
          }
        } finally {
          await app.close()
        }
      }), { numRuns: 25 })
      t.pass('in every sequence')
    })
  }
}

t.teardown(() => Promise.all([...origins.values()].map((app) => app.close())))
