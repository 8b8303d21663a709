import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import health from '@headgate/health'
import stream from '@headgate/stream'
import fastify from 'fastify'
import { serve, type ServeOptions } from 'headgate'
import t from 'tap'
import * as layer4 from '../examples/layer-4.ts'
import { exchange, named, until, upstream } from '../packages/stream/test/helpers.ts'
import { folder, run } from '../packages/stream/test/real/programs.ts'
import { postgres, redis } from '../packages/stream/test/real/servers.ts'
import { skipWithout } from '../tools/system.mjs'

t.test('the example: reads from three Redis replicas, a PostgreSQL pair that fails over', { skip: skipWithout('redis-server', 'redis-cli', 'psql', 'pg_ctlcluster') }, async (t) => {
  const master = await redis(t)
  const replicas = await Promise.all([1, 2, 3].map(() => redis(t, '--replicaof', '127.0.0.1', String(master.port))))
  const cli = (...args: string[]): Promise<string> => run('redis-cli', args)
  await cli('-p', String(master.port), 'set', 'key', 'value')
  // Before they are checked: a replica that has not found its master yet is out for a while.
  for (const { port } of replicas) while (await cli('-p', String(port), 'get', 'key') !== 'value\n');
  const [primary, standby] = [await postgres(t), await postgres(t)]
  const url = ({ port }: { port: number }): string => `tcp://127.0.0.1:${port}`
  const app = await layer4.build({ redis: replicas.map(url), postgres: [url(primary), url(standby)], listen: { redis: '127.0.0.1:0', postgres: '127.0.0.1:0' }, interval: 200, timeout: 5000 })
  await app.ready()
  t.teardown(() => app.close())
  const port = (name: string): string => /\d+$/.exec(app.stream.listener(name).address!)![0]
  const [reads, database] = [app.stream.pools.get('reads')!, app.stream.pools.get('database')!]
  await until(() => reads.ready.length === 3)
  const seen = new Set<string>()
  for (let i = 0; i < 6; i++) {
    t.equal(await cli('-p', port('redis'), 'get', 'key'), 'value\n')
    seen.add((/tcp_port:(\d+)/.exec(await cli('-p', port('redis'), 'info', 'server')))![1]!)
  }
  for (const server of seen) t.ok(replicas.some(({ port }) => String(port) === server), 'a replica answers')
  // Until the process is gone, its socket still takes connections that nobody will answer.
  const gone = once(replicas[0]!.child, 'exit')
  replicas[0]!.child.kill('SIGKILL')
  await gone
  for (let i = 0; i < 4; i++) t.equal(await cli('-p', port('redis'), 'get', 'key'), 'value\n', 'none notices that one died')
  await until(() => reads.ready.length === 2)

  const psql = (sql: string): Promise<string> => run('psql', ['-h', '127.0.0.1', '-p', port('postgres'), '-U', 'postgres', '-AtXc', sql])
  t.equal(await psql('show port'), `${primary.port}\n`)
  const exited = once(primary.child, 'exit')
  primary.child.kill('SIGQUIT')
  await exited
  t.equal(await psql('show port'), `${standby.port}\n`)
  await until(() => database.upstreams[0]!.health.state === 'down')
  t.equal(database.upstreams[1]!.health.state, 'up')
})

t.test('an upstream for datagrams that is not there is ejected by what ICMP says; no question is lost', async (t) => {
  const bind = async () => {
    const socket = createSocket('udp4')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    t.teardown(() => { try { socket.close() } catch {} })
    return { socket, port: socket.address().port }
  }
  const [there, gone, client] = [await bind(), await bind(), await bind()]
  there.socket.on('message', (datagram, { port, address }) => { there.socket.send(datagram, port, address) })
  gone.socket.close()
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(stream, {
    pools: { dns: { upstreams: [gone, there].map(({ port }) => `udp://127.0.0.1:${port}`), policy: 'round-robin', slowStart: 0 } },
    listeners: [{ name: 'dns', protocol: 'udp', listen: '127.0.0.1:0', pool: 'dns', responses: 1 }]
  })
  await app.register(health, { check: false, passive: { gatewayFailures: 2 } })
  await app.ready()
  const listener = app.stream.listener('dns')
  for (let i = 0; i < 6; i++) {
    client.socket.send(String(i), Number(listener.address!.split(':')[1]), '127.0.0.1')
    t.equal(String((await once(client.socket, 'message') as [Buffer])[0]), String(i))
  }
  t.equal(app.stream.pools.get('dns')!.upstreams[0]!.health.state, 'ejected')
  t.equal(listener.counters.failures.get('unreachable'), 2)
})

t.test('checks by the name of a protocol, as in a configuration file; the admin API and metrics show the pools', async (t) => {
  const saying = (line: string) => upstream(t, (socket) => { socket.on('data', () => { socket.write(line) }) })
  const [good, loading] = [await saying('+PONG\r\n'), await saying('-LOADING Redis is loading the dataset in memory\r\n')]
  const options = (check: object): ServeOptions => ({
    listen: '127.0.0.1:0', logLevel: 'silent', admin: {},
    stream: { pools: { cache: [good.url, loading.url] }, listeners: [{ name: 'cache', listen: '127.0.0.1:0', pool: 'cache' }] },
    health: { check: false, pools: { cache: { check: { type: 'redis', interval: 20, rise: 1, fall: 1, ...check } } } } as never
  })
  const proxy = await serve(options({}))
  t.teardown(() => proxy.close())
  const { pools } = proxy.app.stream
  await until(() => pools.get('cache')!.upstreams[1]!.health.state === 'down')
  t.match(pools.get('cache')!.upstreams[1]!.health.history.at(-1), { reason: /LOADING/ })
  t.equal(pools.get('cache')!.upstreams[0]!.health.state, 'up')
  const get = async (path: string): Promise<string> => (await fetch(`${proxy.addresses[0]!}/headgate${path}`)).text()
  t.match(JSON.parse(await get('/api/pools')), { pools: [{ name: 'cache', upstreams: 2, ready: 1, states: { up: 1, down: 1 } }] })
  const metrics = await get('/metrics')
  t.ok(metrics.includes(`headgate_upstream_state{pool="cache",upstream="${loading.url}",state="down"} 1`))
  t.ok(metrics.includes('headgate_stream_active{listener="cache",protocol="tcp"} 0'))

  await t.rejects(serve(options({ rol: 'master' })), { message: /^options\.health\.pools\.cache\.check\.rol: unknown option; known are .*role/ })
  await t.rejects(serve(options({ role: 'king' })), { message: /^options\.health\.pools\.cache\.check\.role: must be one of 'master', 'replica'; got 'king'/ })
  await t.rejects(serve(options({ port: 1 })), { message: /check\.port: unknown option/ })
  await t.rejects(serve(options({ type: 'rediss' })), { message: /check\.type: must be one of http, .*function, redis, .*; got 'rediss'/ })
})

t.test('the command line: listeners of a configuration file, with units', async (t) => {
  const up = await named(t, 'upstream')
  const file = join(folder(t), 'headgate.yaml')
  writeFileSync(file, `
listen: 127.0.0.1:0
pools: { web: ['http://127.0.0.1:1'] }
stream:
  pools: { db: { upstreams: ['${up.url}'], connection: { connectTimeout: 1s } } }
  listeners:
    - { name: db, listen: '127.0.0.1:0', pool: db, idleTimeout: 1h, replayLimit: 4KiB, bandwidth: { download: 1MiB } }
`)
  const cli = fileURLToPath(new URL('../packages/headgate/dist/cli.js', import.meta.url))
  const child = spawn(process.execPath, [cli, 'serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] } })
  const ended = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => { out += String(chunk) })
  child.stderr.on('data', (chunk: Buffer) => { out += String(chunk) })
  await until(() => out.includes('"listening"') || child.exitCode !== null)
  const [, port] = /"protocol":"tcp","address":"127\.0\.0\.1:(\d+)"/.exec(out) ?? []
  t.ok(port, out)
  t.equal(String(await exchange(Number(port), 'hello')), 'upstream\nhello')
  const idle = connect(Number(port), '127.0.0.1')
  await once(idle, 'data')
  idle.destroy()
  child.kill('SIGTERM')
  await ended

  writeFileSync(file, `{ pools: { web: ['http://127.0.0.1:1'] }, stream: { listeners: [{ listen: '127.0.0.1:0', pool: ['tcp://127.0.0.1:1'], idleTimeout: soon }] } }`)
  const wrong = spawn(process.execPath, [cli, 'serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] } })
  let error = ''
  wrong.stderr.on('data', (chunk: Buffer) => { error += String(chunk) })
  const [status] = await once(wrong, 'close') as [number]
  t.equal(status, 2)
  t.match(error, /stream\.listeners\[0\]\.idleTimeout/)
})
