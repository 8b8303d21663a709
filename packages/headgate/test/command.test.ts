import { join } from 'node:path'
import t from 'tap'
import { parseCommand } from '../src/options.ts'

t.test('mistakes in flags and files are named', async (t) => {
  const dir = t.testdir({
    'two.json': JSON.stringify({ pools: { a: ['http://127.0.0.1:1'], b: ['http://127.0.0.1:2'] } }),
    'unknown.json': JSON.stringify({ pools: { a: ['http://127.0.0.1:1'] }, port: 80 }),
    'broken.json': '{'
  })
  const up = ['--upstream', 'http://127.0.0.1:1']
  const cases: [string, string[], RegExp][] = [
    ['unknown flag', ['serve', ...up, '--colour'], /'--colour'/],
    ['unknown command', ['run'], /unknown command 'run'/],
    ['nobody to forward to', ['serve'], /--upstream URL/],
    ['stray argument', ['serve', 'http://127.0.0.1:1'], /--upstream/],
    ['malformed address', ['serve', ...up, '--listen', 'nowhere'], /--listen .*'nowhere'/],
    ['port out of range', ['serve', ...up, '--listen', '127.0.0.1:65536'], /--listen/],
    ['malformed upstream', ['serve', '--upstream', 'ftp://x'], /ftp:\/\/x/],
    ['same upstream twice', ['serve', ...up, ...up], /--upstream\[1\]: 'http:\/\/127\.0\.0\.1:1' is already in the pool \(as --upstream\[0\]\)/],
    ['weight out of range', ['serve', '--upstream', 'http://127.0.0.1:1;weight=70000'], /--upstream\[0\]\.weight: must be <= 65535; got 70000/],
    ['negative weight', ['serve', '--upstream', 'http://127.0.0.1:1;weight=-1'], /--upstream\[0\];weight: must be a number, 0 or more; got '-1'/],
    ['weight without a value', ['serve', '--upstream', 'http://127.0.0.1:1;weight='], /--upstream\[0\];weight: must be a number/],
    ['weight twice', ['serve', '--upstream', 'http://127.0.0.1:1;weight=1;weight=2'], /each once; got/],
    ['priority out of range', ['serve', '--upstream', 'http://127.0.0.1:1;priority=1.5'], /--upstream\[0\]\.priority: must be integer; got 1\.5/],
    ['location out of range', ['serve', '--upstream', 'http://127.0.0.1:1;location=91,0'], /--upstream\[0\]\.location\.latitude: must be <= 90; got 91/],
    ['location without a comma', ['serve', '--upstream', 'http://127.0.0.1:1;location=here'], /;location: must be LATITUDE,LONGITUDE .*got 'here'/],
    ['empty zone', ['serve', '--upstream', 'http://127.0.0.1:1;zone='], /--upstream\[0\]\.zone: .*got ''/],
    ['id with odd characters', ['serve', '--upstream', 'http://127.0.0.1:1;id=a b'], /--upstream\[0\]\.id: .*got 'a b'/],
    ['unknown parameter', ['serve', '--upstream', 'http://127.0.0.1:1;colour=red'], /--upstream\[0\]: parameters are ;weight=N .*colour=red/],
    ['unknown policy', ['serve', ...up, '--policy', 'best'], /--policy must be one of adaptive, .*'best'/],
    ['timeout that is no number', ['serve', ...up, '--timeout', '2 minutes'], /--timeout must be milliseconds, or a duration .*'2 minutes'/],
    ['timeout out of range', ['serve', ...up, '--connect-timeout', '11m'], /--connect-timeout .*from 1 ms to 10 minutes; it is '11m'/],
    ['health path without a slash', ['serve', ...up, '--health-path', 'healthz'], /--health-path must be a path such as '\/healthz'; it is 'healthz'/],
    ['health interval too short', ['serve', ...up, '--health-interval', '5'], /--health-interval .*from 20 ms/],
    ['unknown kind of affinity', ['serve', ...up, '--sticky', 'session'], /--sticky must be cookie, app-cookie:NAME, .*; it is 'session'/],
    ['affinity without a name', ['serve', ...up, '--sticky', 'header:'], /--sticky .*'header:'/],
    ['affinity with a name too many', ['serve', ...up, '--sticky', 'cookie:x'], /--sticky .*'cookie:x'/],
    ['file and affinity', ['serve', '--config', join(dir, 'two.json'), '--sticky', 'cookie'], /--sticky and --config/],
    ['unknown level', ['serve', ...up, '--log-level', 'loud'], /--log-level .*'loud'/],
    ['no such file', ['serve', '--config', join(dir, 'none.json')], /none\.json/],
    ['unknown kind of file', ['serve', '--config', 'headgate.toml'], /\.yaml.*headgate\.toml/],
    ['malformed file', ['serve', '--config', join(dir, 'broken.json')], /broken\.json/],
    ['unknown key of a file', ['serve', '--config', join(dir, 'unknown.json')], /unknown\.json:1:\d+: port: unknown option/],
    ['pools without routes', ['serve', '--config', join(dir, 'two.json')], /routes.*\(a, b\)/],
    ['trusted', ['serve', ...up, '--trust-proxy', 'loopback, everybody'], /--trust-proxy must be addresses.*; it is 'loopback, everybody'/],
    ['file and health', ['serve', '--config', join(dir, 'two.json'), '--no-passive'], /--no-passive and --config/],
    ['file and upstreams', ['serve', '--config', join(dir, 'two.json'), ...up], /--upstream and --config/]
  ]
  for (const [name, args, message] of cases) await t.rejects(parseCommand(args), { message }, name)
})

t.test('flags become options', async (t) => {
  t.match(await parseCommand(['serve', '--upstream', 'http://a:1', '--upstream', 'http://b:1;weight=3', '--policy', 'p2c', '--connect-timeout', '500ms',
    '--timeout', '1.5m', '--client-headers-timeout', '9000', '--trust-proxy', 'loopback,10.0.0.0/8', '--listen', ':0', '--log-level', 'warn']), {
    name: 'serve',
    options: {
      pools: { default: { upstreams: ['http://a:1', 'http://b:1;weight=3'], policy: 'p2c', connection: { connectTimeout: 500 } } },
      routes: [{ prefix: '/', pool: 'default', headersTimeout: 90_000, idleTimeout: 90_000 }],
      clientHeadersTimeout: 9000, trustProxy: 'loopback,10.0.0.0/8', listen: ':0', logLevel: 'warn'
    }
  })
  const health = async (...args: string[]): Promise<unknown> => {
    const command = await parseCommand(['serve', '--upstream', 'http://a:1', ...args])
    return command.name === 'serve' && command.options.health
  }
  t.same(await health(), { check: false })
  t.same(await health('--health-path', '/healthz'), { check: { path: '/healthz' } })
  t.same(await health('--health-interval', '2s'), { check: { interval: 2000 } })
  t.same(await health('--health-path', '/healthz', '--health-interval', '200', '--no-passive'), { check: { path: '/healthz', interval: 200 }, passive: false })
  t.same(await parseCommand([]), { name: 'help' })
})

t.test('--sticky, with secrets from the environment', async (t) => {
  const secret = 'x'.repeat(32)
  const dir = t.testdir({
    'own.json': JSON.stringify({ pools: { web: ['http://a:1'] }, sticky: { keys: [secret], idleTimeout: '1h', pools: { web: { by: 'source-ip', lifetime: '2m' } } } }),
    'none.json': JSON.stringify({ pools: { web: ['http://a:1'] }, sticky: {} }),
    'route.json': JSON.stringify({ pools: { web: ['http://a:1'] }, sticky: {}, routes: [{ prefix: '/', pool: 'web', config: { sticky: { idleTimeout: '5s' } } }] }),
    'lost.json': JSON.stringify({ pools: { web: ['http://a:1'] }, routes: [{ prefix: '/', pool: 'web', config: { sticky: {} } }] })
  })
  const before = process.env['HEADGATE_STICKY_KEYS']
  t.teardown(() => {
    if (before === undefined) delete process.env['HEADGATE_STICKY_KEYS']
    else process.env['HEADGATE_STICKY_KEYS'] = before
  })
  const sticky = async (...args: string[]): Promise<unknown> => {
    const command = await parseCommand(['serve', ...args])
    return command.name === 'serve' && command.options.sticky
  }
  const up = ['--upstream', 'http://a:1']
  process.env['HEADGATE_STICKY_KEYS'] = `${secret}, ${secret}2`
  t.equal(await sticky(...up), undefined)
  t.same(await sticky(...up, '--sticky', 'cookie'), { by: 'cookie', keys: [secret, `${secret}2`] })
  t.match(await sticky(...up, '--sticky', 'source-ip'), { by: 'source-ip' })
  t.match(await sticky(...up, '--sticky', 'header:x-user'), { by: 'header', name: 'x-user' })
  t.match(await sticky(...up, '--sticky', 'query:a:b'), { by: 'query', name: 'a:b' })
  t.match(await sticky(...up, '--sticky', 'app-cookie:sid'), { by: 'app-cookie', name: 'sid' })
  t.same(await sticky('--config', join(dir, 'own.json')), { keys: [secret], idleTimeout: 3_600_000, pools: { web: { by: 'source-ip', lifetime: 120_000 } } })
  t.same(await sticky('--config', join(dir, 'none.json')), { keys: [secret, `${secret}2`] })
  t.match(await parseCommand(['serve', '--config', join(dir, 'route.json')]), { options: { routes: [{ config: { sticky: { idleTimeout: 5000 } } }] } })
  await t.rejects(parseCommand(['serve', '--config', join(dir, 'lost.json')]), { message: /lost\.json:1:\d+: routes\[0\]\.config\.sticky is for nothing without .*lost\.json\.sticky/ })
  process.env['HEADGATE_STICKY_KEYS'] = `${secret},short`
  const error: unknown = await parseCommand(['serve', ...up, '--sticky', 'cookie']).catch((error: unknown) => error)
  t.match(error, { name: 'UsageError', message: /HEADGATE_STICKY_KEYS must hold secrets of at least 32 bytes.*; number 2 has 5/ })
  t.notMatch((error as Error).message, /short|xxxx/)
})
