import balancer from '@headgate/balancer'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import sticky, { type StickyOptions } from '../src/index.ts'
import { keys } from './helpers.ts'

async function build (options: unknown, config?: unknown, logger?: object): Promise<FastifyInstance> {
  const app = Fastify(logger === undefined ? {} : { logger }) as FastifyInstance
  await app.register(balancer, {
    pools: { web: ['http://127.0.0.1:1'], api: ['http://127.0.0.1:2'] },
    routes: [{ prefix: '/', pool: 'web', ...config !== undefined && { config: { sticky: config } as object } }]
  })
  await app.register(sticky, options as StickyOptions)
  await app.ready()
  return app
}

t.test('wrong options fail at registration and are named', async (t) => {
  const secret = 'too short a secret'
  const cases: [string, unknown, RegExp][] = [
    ['unknown option', { keys, colour: 1 }, /options\.colour: unknown option; known are .*failover.*; got 1/],
    ['unknown kind', { keys, by: 'tls-session' }, /options\.by: must be one of cookie, app-cookie, source-ip, .*; got 'tls-session'/],
    ['short secret', { keys: [secret] }, /options\.keys\[0\]: must have at least 32 bytes; got 'one of 18 bytes'/],
    ['short older secret', { keys: [...keys, Buffer.alloc(31)] }, /options\.keys\[1\]: must have at least 32 bytes/],
    ['no secret', { keys: [] }, /options\.keys: must NOT have fewer than 1 items/],
    ['secret of another type', { keys: [42] }, /options\.keys\[0\]: must be a string or a Buffer/],
    ['failover', { keys, failover: 'never' }, /options\.failover: must be one of 'rebind', 'borrow', 'strict'; got 'never'/],
    ['borrowTime without borrow', { keys, borrowTime: 5 }, /options\.borrowTime: is for failover: 'borrow'; got 5/],
    ['rebalance', { keys, rebalance: 2 }, /options\.rebalance: must be <= 1; got 2/],
    ['rebalance by hash', { by: 'source-ip', rebalance: 0.1 }, /options\.rebalance: needs memory: 'table'/],
    ['rebalance of prefixes', { keys, by: 'app-cookie', name: 'sid', mode: 'prefix', rebalance: 0.1 }, /options\.rebalance: needs mode: 'learn'/],
    ['idleTimeout', { keys, idleTimeout: 10 }, /options\.idleTimeout: must be >= 1000; got 10/],
    ['header without a name', { by: 'header' }, /options\.name: is required/],
    ['header with a bad name', { by: 'header', name: 'a b' }, /options\.name: must match pattern/],
    ['key that is no function', { by: 'key', key: 'user' }, /options\.key: must be a function; got 'user'/],
    ['prefix length', { by: 'source-ip', ipv4Prefix: 33 }, /options\.ipv4Prefix: must be <= 32; got 33/],
    ["another kind's option", { by: 'source-ip', sameSite: 'lax' }, /options\.sameSite: unknown option/],
    ['cookie name', { keys, name: 'a;b' }, /options\.name: must match pattern/],
    ['cookie path', { keys, path: '/a;b' }, /options\.path: must match pattern/],
    ['together', { keys, together: 'cookie' }, /options\.together: must be 'source-ip', .* or a function; got 'cookie'/],
    ['SameSite=None without Secure', { keys, sameSite: 'none', secure: false }, /options\.sameSite: 'none' needs secure cookies/],
    ['Partitioned without Secure', { keys, partitioned: true, secure: false }, /options\.partitioned: needs secure cookies/],
    ['__Host- with a domain', { keys, name: '__Host-a', secure: true, path: '/', domain: 'a.example' }, /options\.name: '__Host-' needs/],
    ['__Secure- without Secure', { keys, name: '__Secure-a' }, /options\.secure: must be true for the name __Secure-a/],
    ['table', { by: 'header', name: 'a', table: { maxEntries: 0 } }, /options\.table\.maxEntries: must be >= 1; got 0/],
    ['store', { by: 'header', name: 'a', table: { store: { get () {} } } }, /options\.table\.store\.set: is required/],
    ['option of a pool', { keys, pools: { web: { by: 'header' } } }, /options\.pools\.web\.name: is required/],
    ['keys of a pool', { keys, pools: { web: { keys } } }, /options\.pools\.web\.keys: unknown option/],
    ['rule that is none', { keys, pools: { web: true } }, /options\.pools\.web: must be an object, or false; got true/],
    ['unknown pool', { keys, pools: { wep: false } }, /options\.pools\.wep: must be one of the pools web, api; got 'wep'/]
  ]
  for (const [name, options, message] of cases) {
    const error: unknown = await build(options).catch((error: unknown) => error)
    t.match(error, { code: /^HG_(STICKY|POOL)_INVALID_OPTION$/ }, name)
    t.match((error as Error).message, message, name)
    t.notMatch((error as Error).message, new RegExp(`${secret}|${keys[0]!}`), `${name}: no secret in the message`)
  }
})

t.test("a route's options are checked before the first request, whichever came first", async (t) => {
  await t.rejects(build({ keys }, { by: 'header' }), { message: /routes\[0\]\.config\.sticky\.name: is required/ })
  const app = Fastify() as FastifyInstance
  await app.register(balancer, { pools: { web: ['http://127.0.0.1:1'] } })
  await app.register(sticky, { keys })
  t.throws(() => app.get('/x', { config: { sticky: { by: 'query' } as never } }, () => ''), { message: /config\.sticky of route \/x\.name: is required/ })
})

t.test('a missing secret fails in production, and is made up with a warning elsewhere', async (t) => {
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  process.env['NODE_ENV'] = 'production'
  const missing = { code: 'HG_STICKY_NO_KEY', message: /options\.keys is required in production/ }
  await t.rejects(build({}), missing)
  await t.rejects(build({ by: 'app-cookie', name: 'sid', mode: 'prefix' }), missing)
  await t.rejects(build({ by: 'source-ip', pools: { api: {} } }), missing)
  await t.rejects(build({ by: 'source-ip' }, {}), missing)
  for (const options of [{ keys }, { by: 'source-ip' }, { by: 'app-cookie', name: 'sid' }, { pools: { web: false, api: { by: 'source-ip' } } }]) {
    await t.resolves(build(options), 'nothing to sign, or something to sign with')
  }
  delete process.env['NODE_ENV']
  const lines: string[] = []
  await build({}, {}, { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } })
  t.equal(lines.length, 1)
  t.match(lines[0], /no keys are given/)
})

t.test('the balancer must be there before', async (t) => {
  const app = Fastify() as FastifyInstance
  await t.rejects(async () => {
    await app.register(sticky, { keys })
    await app.ready()
  }, { code: /FST_ERR_.*DEPENDENCY|FST_ERR_PLUGIN/ })
})
