import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { connect } from 'node:tls'
import t from 'tap'
import { Authority } from '../packages/tls/test/certificates.ts'
import { redisServer, until } from '../packages/redis/test/servers.ts'
import { skipWithout } from '../tools/system.mjs'
import { run, serve, upstream } from './processes.ts'

/** One request over a connection of its own; gives whether its session was resumed, and one for the next time. */
async function handshake (url: string, ca: string, session?: Buffer): Promise<{ reused: boolean; session: Buffer }> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), ca, servername: 'site.example', ...session !== undefined && { session } })
  // TLS 1.3 sends tickets after the handshake; a client that has come back may get none.
  let next = session
  socket.on('session', (ticket: Buffer) => { next = ticket })
  await once(socket, 'secureConnect')
  const reused = socket.isSessionReused()
  socket.end('GET / HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n')
  socket.resume()
  await once(socket, 'close')
  return { reused, session: next! }
}

/** What a Redis says to one command, in its own words. */
async function say (port: number, command: string): Promise<string> {
  const socket = connectTcp(port, '127.0.0.1')
  socket.end(`${command}\r\n`)
  return Buffer.concat(await socket.toArray() as Buffer[]).toString()
}

t.test('two processes with one Redis resume each other\'s sessions, and go on when it is gone; without it they do not', { skip: skipWithout('openssl', 'redis-server') }, async (t) => {
  const authority = new Authority(t)
  const { files } = authority.issue(['site.example'])
  const redis = await redisServer(t)
  const flags = ['--upstream', await upstream(t, 'a'), '--tls-cert', files.cert, '--tls-key', files.key]
  const [one, two] = await Promise.all([1, 2].map(() => serve(t, ...flags, '--redis', redis.url)))
  const first = await handshake(one!.url, authority.ca)
  t.equal(first.reused, false)
  const second = await handshake(two!.url, authority.ca, first.session)
  t.equal(second.reused, true, 'at the other one')
  t.equal((await handshake(one!.url, authority.ca, second.session)).reused, true, 'and back')
  await redis.stop()
  t.equal((await handshake(two!.url, authority.ca, second.session)).reused, true, 'they have the key')
  const [third, fourth] = await Promise.all([1, 2].map(() => serve(t, ...flags)))
  const { session } = await handshake(third!.url, authority.ca)
  t.equal((await handshake(fourth!.url, authority.ca, session)).reused, false, 'each has its own')
})

t.test('workers of one machine resume each other\'s sessions without anything else, after one of them has died too', { skip: skipWithout('openssl') }, async (t) => {
  const authority = new Authority(t)
  const { files } = authority.issue(['site.example'])
  const proxy = await serve(t, '--upstream', await upstream(t, 'a'), '--tls-cert', files.cert, '--tls-key', files.key, '--workers', '3')
  const lines = (): Record<string, unknown>[] => proxy.stdout().split('\n').filter((line) => line.endsWith('}')).map((line) => JSON.parse(line) as Record<string, unknown>)
  await until(() => lines().some(({ msg }) => msg === 'workers are ready'))
  const { session } = await handshake(proxy.url, authority.ca)
  for (let i = 0; i < 6; i++) t.equal((await handshake(proxy.url, authority.ca, session)).reused, true)
  const pids = new Set(lines().filter(({ msg }) => msg === 'incoming request').map(({ pid }) => Number(pid)))
  t.equal(pids.size, 3, 'all of them answered')
  for (const pid of pids) {
    process.kill(pid, 'SIGKILL')
    const before = lines().filter(({ msg }) => msg === 'a worker was replaced').length
    await until(() => lines().filter(({ msg }) => msg === 'a worker was replaced').length > before)
  }
  for (let i = 0; i < 3; i++) t.equal((await handshake(proxy.url, authority.ca, session)).reused, true, 'those that came later have the key')
})

t.test('ACME\'s storage may be the Redis of the configuration; it has to be there', { skip: skipWithout('openssl', 'redis-server') }, async (t) => {
  const authority = new Authority(t)
  const { files } = authority.issue(['site.example'])
  const redis = await redisServer(t)
  const config = authority.path('config.yaml')
  const write = (more: string): void => {
    writeFileSync(config, `
pools: { web: ['http://127.0.0.1:9'] }
${more}
tls:
  certificates: [{ cert: ${files.cert}, key: ${files.key} }]
  acme: { certificates: [{ hosts: [new.example] }], termsOfServiceAgreed: true, storage: redis, directory: 'https://127.0.0.1:9/dir' }
`)
  }
  write('')
  const wrong = run(t, 'serve', '--config', config)
  t.equal((await wrong.ended).status, 2)
  t.match(wrong.stderr(), /tls\.acme\.storage.*'redis' needs .*redis; a folder of that name is '\.\/redis'/)
  write(`redis: { url: '${redis.url}' }`)
  await serve(t, '--config', config)
  await until(async () => /headgate:v1:acme:/.test(await say(redis.port, 'KEYS headgate:v1:acme:*')))
  t.match(await say(redis.port, 'KEYS headgate:v1:tickets:*'), /tickets-28800000-\d+/)
})
