import { readFileSync } from 'node:fs'
import Fastify, { type FastifyInstance } from 'fastify'
import balancer from '@headgate/balancer'
import type { Pool } from '@headgate/core'
import t from 'tap'
import stream, { type ListenerOptions } from '../src/index.ts'
import { named, proxy } from './helpers.ts'

const pem = readFileSync(new URL('fixtures/cert.pem', import.meta.url), 'utf8')

t.test('a wrong option fails registration, and is named with what is allowed', async (t) => {
  const wrong = async (listener: object, message: RegExp, more: object = {}): Promise<void> => {
    const app = Fastify()
    await t.rejects(async () => app.register(stream, { listeners: [{ listen: '127.0.0.1:0', pool: ['tcp://a:1'], ...listener } as ListenerOptions], ...more }), { message }, String(message))
    await app.close()
  }
  await wrong({ listen: '127.0.0.1' }, /^options\.listeners\[0\]\.listen: must be 'host:port'.*'unix:\/path' of at most 107 bytes; got '127\.0\.0\.1'/)
  await wrong({ listen: 'a:70000' }, /listen: must be/)
  await wrong({ listen: 'unix:x' }, /listen: must be .*'unix:\/path' of at most 107 bytes; got 'unix:x'/)
  await wrong({ protocol: 'sctp' }, /listeners\[0\]\.protocol: must be one of 'tcp', 'udp'/)
  await wrong({ idleTimeout: -1 }, /listeners\[0\]\.idleTimeout: must be >= 1/)
  await wrong({ responses: 1 }, /listeners\[0\]\.responses: unknown option; known are/)
  await wrong({ bandwidth: { download: 1 } }, /listeners\[0\]\.bandwidth\.download: must be >= 1024/)
  await wrong({ pool: undefined }, /listeners\[0\]\.pool: is required without 'routes'/)
  await wrong({ pool: 'x' }, /listeners\[0\]\.pool: must be one of 'pools', of which there are none; got 'x'/)
  await wrong({ pool: ['http://a:1'] }, /listeners\[0\]\.pool\.upstreams\[0\]: must be an address such as 'tcp:/)
  await wrong({ pool: ['udp://a:1'] }, /must not be udp:\/\/ in a pool for TCP/)
  await wrong({ protocol: 'udp', pool: ['tcp://a:1'] }, /must be udp:\/\/host:port/)
  await wrong({ protocol: 'udp', pool: 'p' }, /pool: must be a pool of udp:\/\/ upstreams/, { pools: { p: ['tcp://a:1'] } })
  await wrong({ pool: { upstreams: [{ app: Fastify(), id: 'x' }] } }, /layer 4 has no in-process upstreams/)
  await wrong({ pool: { upstreams: ['tcp://a:1'], hashOn: 'cookie:x' } }, /pool\.hashOn: must be 'client-address' or a function/)
  await wrong({ acceptProxy: { from: ['10.0.0.0/33'] } }, /acceptProxy\.from\[0\]: must be an IP address, a network/)
  await wrong({ acceptProxy: { from: ['localhost'] } }, /acceptProxy\.from\[0\]/)
  await wrong({ routes: [{ match: {}, pool: ['tcp://a:1'] }] }, /routes\[0\]\.match/)
  await wrong({ routes: [{ match: { serverName: '*.*' }, pool: ['tcp://a:1'] }] }, /routes\[0\]\.match\.serverName: must be host names/)
  await wrong({ routes: [{ match: { protocol: 'ssh', alpn: 'h2' }, pool: ['tcp://a:1'] }] }, /routes\[0\]\.match\.protocol: must be 'tls' beside/)
  await wrong({ tls: {} }, /listeners\[0\]\.tls: needs 'key' and 'cert'/)
  await wrong({ tls: { cert: pem, key: 'no key' } }, /listeners\[0\]\.tls: must be what tls\.createServer takes/)
  await wrong({ sendProxy: 'v3' }, /listeners\[0\]\.sendProxy/)
})

t.test('names are unique, and an address that is taken is an error at ready', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const listener = { listen: '127.0.0.1:0', pool: ['tcp://a:1'] }
  await t.rejects(async () => app.register(stream, { listeners: [{ ...listener, name: 'x' }, { ...listener, name: 'x', pool: ['tcp://b:1'] }] }), { code: 'HG_STREAM_INVALID_OPTION' })
  const { port } = await proxy(t, { listeners: [{ ...listener, name: 'first' }] })
  const second = Fastify() as unknown as FastifyInstance
  t.teardown(() => second.close())
  await second.register(stream, { listeners: [{ ...listener, name: 'second', listen: `127.0.0.1:${port('first')}` }] })
  await t.rejects(async () => second.ready(), { code: 'HG_STREAM_LISTEN', message: /listener 'second' cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/ })
  t.throws(() => second.stream.listener('third'), { code: 'HG_STREAM_UNKNOWN_LISTENER', message: /listeners are: second/ })
})

t.test('pools of layer 4 are among those of a balancer, whichever came first; they speak no HTTP', async (t) => {
  const a = await named(t, 'a')
  for (const first of [true, false]) {
    const app = Fastify() as unknown as FastifyInstance
    t.teardown(() => app.close())
    const web = () => app.register(balancer, { pools: { web: ['http://127.0.0.1:1'] } })
    if (first) await web()
    await app.register(stream, { listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: [a.url] }] })
    if (!first) await web()
    app.get('/', (_request, reply) => reply.forward('db'))
    await app.ready()
    const pool = (app as unknown as { balancer: { pool (name: string): Pool } }).balancer.pool('db')
    t.equal(pool, app.stream.pools.get('db'))
    t.equal((await app.inject('/')).statusCode, 502)
    t.equal(pool.upstreams[0]!.load.inFlight, 0)
  }
})

t.test('the README names every option', async (t) => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const options = readFileSync(new URL('../src/options.ts', import.meta.url), 'utf8')
  for (const [, name] of options.matchAll(/^ {2}readonly (\w+)\??:/gm)) t.match(readme, new RegExp(`\\b${name!}\\b`), name!)
})
