import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { assert, constantFrom, double, integer, property, tuple } from 'fast-check'
import { Ajv } from 'ajv'
import t from 'tap'
import { publishedSchema } from '../src/config/published.ts'
import { readConfig } from '../src/config/read.ts'
import { parseListen } from '../src/listen.ts'
import { parseUnit, withUnits } from '../src/config/units.ts'

t.test('durations and sizes', async (t) => {
  for (const [text, ms] of [['250', 250], ['250ms', 250], ['2s', 2000], ['1.5m', 90_000], ['1h', 3_600_000], ['0s', 0], ['1d', 86_400_000]] as const) t.equal(parseUnit(text, 'ms'), ms, text)
  for (const [text, bytes] of [['64', 64], ['512B', 512], ['64KiB', 65_536], ['1.5MiB', 1_572_864], ['1GiB', 2 ** 30], ['64KB', 64_000]] as const) t.equal(parseUnit(text, 'bytes'), bytes, text)
  for (const text of ['', 's', '2 s', '2S', '-1s', '+1s', '1e3', '0x10', '2s ', '2KiB', '2toString', '.5s', '1.s', 'Infinity']) t.equal(parseUnit(text, 'ms'), undefined, text)
  for (const text of ['2s', '64kib', '64Kib', '64 KiB', '1_000']) t.equal(parseUnit(text, 'bytes'), undefined, text)
  assert(property(tuple(integer({ min: 0, max: 1e6 }), constantFrom('ms', 's', 'm', 'h')), ([count, unit]) =>
    parseUnit(`${count}${unit}`, 'ms')! >= count))
  assert(property(double({ min: 0, max: 1e6, noNaN: true }), (value) => {
    const text = value.toFixed(3)
    return parseUnit(`${text}s`, 'ms') === Math.round(Number(text) * 1000)
  }))
})

t.test('texts become numbers only where the schema says so', async (t) => {
  const inner = { type: 'object', properties: { time: { type: 'number', unit: 'ms' }, name: { type: 'string' } } }
  const schema = { properties: { one: inner, list: { items: inner }, either: { anyOf: [{ const: false }, inner] }, named: { additionalProperties: inner } } }
  const given = {
    one: { time: '2s', name: '2s' }, list: [{ time: '1m' }, { time: 5 }], either: { time: '3s' }, named: { a: { time: '4ms' } }, other: { time: '9s' }
  }
  const kept = structuredClone(given)
  t.same(withUnits(schema, given, 'f'), {
    one: { time: 2000, name: '2s' }, list: [{ time: 60_000 }, { time: 5 }], either: { time: 3000 }, named: { a: { time: 4 } }, other: { time: '9s' }
  })
  t.same(given, kept, 'what was given is not changed')
  t.same(withUnits(schema, { either: false, one: null, list: 'x' }, 'f'), { either: false, one: null, list: 'x' })
  t.throws(() => withUnits(schema, { list: [{ time: '2 minutes' }] }, 'f'), {
    code: 'HG_POOL_INVALID_OPTION', message: "f.list[0].time: must be milliseconds, or a duration such as '500ms', '2s', '1.5m', '1h'; got '2 minutes'"
  })
})

t.test('durations of a discovery', async (t) => {
  const file = join(t.testdir({}), 'config.json')
  writeFileSync(file, JSON.stringify({ pools: { web: { discovery: { type: 'dns', name: 'web.example', minTtl: '2s', maxTtl: '1m' } } } }))
  t.match(await readConfig(file), { pools: { web: { discovery: { minTtl: 2000, maxTtl: 60_000 } } } })
})

t.test('checks of layer 4 by the name of a protocol, with units; editors know them', async (t) => {
  const given = {
    stream: {
      pools: { dns: ['udp://a:53'], db: { upstreams: ['tcp://a:1'], connection: { connectTimeout: '1s' } } },
      listeners: [
        { listen: '127.0.0.1:0', pool: ['tcp://a:1'] }, { listen: ':53', protocol: 'udp', pool: 'dns', idleTimeout: '10s' },
        { listen: ':443', routes: [{ match: { serverName: '*.a.example' }, pool: 'db' }], bandwidth: { download: '1MiB' } }
      ]
    },
    health: { check: { type: 'postgres', role: 'primary', interval: '2s' }, pools: { db: { check: { type: 'dns', record: 'A', timeout: '500ms' } } } }
  }
  const file = join(t.testdir({}), 'config.json')
  writeFileSync(file, JSON.stringify(given))
  t.match(await readConfig(file), { health: { check: { type: 'postgres', interval: 2000 }, pools: { db: { check: { timeout: 500 } } } } })
  const validate = new Ajv({ strict: false }).compile(await publishedSchema())
  t.ok(validate(given), JSON.stringify(validate.errors))
  t.notOk(validate({ ...given, health: { check: { type: 'postgres', role: 'king' } } }))
  t.notOk(validate({ stream: { listeners: [{ listen: ':1', protocol: 'sctp', pool: 'db' }] } }))
})

t.test('a configuration file', async (t) => {
  const dir = t.testdir({})
  const write = (name: string, text: string): string => {
    const file = join(dir, name)
    writeFileSync(file, text)
    return file
  }
  const expected = {
    listen: 'unix:/tmp/x.sock', clientHeadersTimeout: 5000,
    pools: { web: { upstreams: ['http://a:1'], slowStart: 30_000, connection: { connectTimeout: 500, maxHeadSize: 65_536 }, queue: { timeout: 250 } } },
    routes: [{ prefix: '/', pool: 'web', headersTimeout: 5000, timeout: 60_000, retry: { bodyLimit: 1_048_576 } }],
    health: { check: { path: '/healthz', interval: 2000 }, passive: { baseEjection: 10_000 }, pools: { web: { check: { timeout: 500 } } } }
  }
  t.same(await readConfig(write('units.yaml', `
listen: unix:/tmp/x.sock
clientHeadersTimeout: 5s
pools:
  web: { upstreams: ['http://a:1'], slowStart: 30s, connection: { connectTimeout: 500ms, maxHeadSize: 64KiB }, queue: { timeout: 0.25s } }
routes: [{ prefix: /, pool: web, headersTimeout: 5s, timeout: 1m, retry: { bodyLimit: 1MiB } }]
health: { check: { path: /healthz, interval: 2s }, passive: { baseEjection: 10s }, pools: { web: { check: { timeout: 500ms } } } }
`)), expected)
  const module = `const pools: Record<string, string[]> = { web: ['http://a:1'] }
export default { pools }
`
  const ts = write('headgate.ts', module)
  if ((process.features as { typescript?: unknown }).typescript) t.match(await readConfig(ts), { pools: { web: ['http://a:1'] }, routes: [{ prefix: '/', pool: 'web' }] })
  else await t.rejects(readConfig(ts), { name: 'UsageError', message: /TypeScript needs Node 22\.18 or newer, and this is v/ })
  const bad: [name: string, text: string, message: RegExp][] = [
    ['time.json', '{"pools":{"web":{"upstreams":["http://a:1"],"slowStart":"soon"}}}', /time\.json:1:57: pools\.web\.slowStart: must be milliseconds, or a duration .*; got 'soon'$/],
    ['size.json', '{"pools":{"web":["http://a:1"]},"routes":[{"prefix":"/","pool":"web","retry":{"bodyLimit":"1 MB"}}]}', /size\.json:1:91: routes\[0\]\.retry\.bodyLimit: must be bytes, or a size .*; got '1 MB'$/],
    ['range.yaml', "clientHeadersTimeout: 1h\npools: { web: ['http://a:1'] }", /range\.yaml:1:23: clientHeadersTimeout: must be <= 600000; got 3600000/],
    ['none.mjs', 'export const pools = {}', /none\.mjs must have a default export/],
    ['listen.yaml', "listen: 8080\npools: { web: ['http://a:1'] }", /listen\.yaml:1:9: listen: must be string or must be array; got 8080/],
    ['list.json', '[]', /list\.json:1:1: must be object; got an array of 0/],
    ['empty.yaml', '', /empty\.yaml.*: must be object; got null/],
    ['level.yaml', "logLevel: loud\npools: { web: ['http://a:1'] }", /level\.yaml:1:11: logLevel: must be one of 'fatal', .*; got 'loud'/],
    ['nobody.yaml', 'listen: :1', /nobody\.yaml:1:1: pools: is required/]
  ]
  for (const [name, text, message] of bad) await t.rejects(readConfig(write(name, text)), { message }, name)
})

t.test('addresses to listen at', async (t) => {
  const good: [text: string, address: object][] = [
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['[fe80::1%eth0]:80', { host: 'fe80::1%eth0', port: 80 }],
    [':8080', { host: undefined, port: 8080 }],
    ['*:8080', { host: undefined, port: 8080 }],
    ['unix:/run/headgate.sock', { path: '/run/headgate.sock' }]
  ]
  for (const [text, address] of good) t.same(parseListen(text), address, text)
  for (const text of ['', '8080', 'host', 'host:', 'host:65536', 'host:-1', 'host:8x', '::1:80', '[::1]', '[1:2]:80', '[]:80', 'http://a:1', 'a b:1', 'a/b:1', 'unix:', `unix:/${'x'.repeat(107)}`]) {
    t.throws(() => parseListen(text, '--listen'), { name: 'UsageError', message: /^--listen must .*; it is '/ }, text)
  }
})

t.test('the environment in a file', async (t) => {
  const dir = t.testdir({
    'env.yaml': `# \${NOT_READ}
listen: \${HOST:-127.0.0.1}:\${PORT}
pools:
  web:
    upstreams: ['\${UPSTREAM}', "http://b:\${B:-2}"]
    maxInFlight: \${MAX}
    slowStart: \${SLOW:-5s}
routes:
  - { prefix: /, pool: web, resume: '\${RESUME}', rewritePath: { pattern: '^/$\${x}(\\d+)$', to: '/$1' }, headers: { request: { set: { x-raw: '\${RAW}' } } } }
`,
    'env.json': '{\n  "pools": { "web": { "upstreams": ["http://a:1"], "queue": { "limit": "${LIMIT}" } } }\n}'
  })
  const file = join(dir, 'env.yaml')
  const environment = { PORT: '81', UPSTREAM: 'http://a:1', MAX: '7', RESUME: 'false', RAW: '1", evil: {', B: '' }
  t.match(await readConfig(file, environment), {
    listen: '127.0.0.1:81',
    pools: { web: { upstreams: ['http://a:1', 'http://b:2'], maxInFlight: 7, slowStart: 5000 } },
    routes: [{ resume: false, rewritePath: { pattern: '^/${x}(\\d+)$' }, headers: { request: { set: { 'x-raw': '1", evil: {' } } } }]
  })
  await t.rejects(readConfig(file, { ...environment, UPSTREAM: undefined }), {
    name: 'UsageError', message: `${file}:5:17: pools.web.upstreams[0]: the environment variable UPSTREAM is not set; \${UPSTREAM:-default} does without`
  })
  t.match(await readConfig(join(dir, 'env.json'), { LIMIT: '5' }), { pools: { web: { queue: { limit: 5 } } } })
})

t.test('mistakes are told with line and column', async (t) => {
  const dir = t.testdir({})
  const cases: [name: string, text: string, message: RegExp][] = [
    ['comma.json', '{\n  "pools": {},\n}', /^[^\n]*comma\.json:3:1: it is not JSON: /],
    ['cut.json', '{ "pools": {', /cut\.json:1:1[23]: it is not JSON: /],
    ['tab.yaml', 'pools:\n  web: [http://a:1]\n web: 1\n', /tab\.yaml:3:\d+: /],
    ['twice.yaml', 'pools:\n  web: [http://a:1]\npools: {}\n', /twice\.yaml:3:1: Map keys must be unique/],
    ['key.yaml', 'pools:\n  web: [http://a:1]\ncolour: red\n', /key\.yaml:3:1: colour: unknown option; known are .*got 'red'/],
    ['value.yaml', 'pools:\n  web.v2: { upstreams: [http://a:1], slowStart: x }\n', /value\.yaml:2:49: pools\.web\.v2\.slowStart: must be milliseconds/],
    ['alias.yaml', 'pools:\n  a: &a\n    upstreams: [http://a:1]\n    slowStart: x\n  b: *a\nroutes: []\n', /alias\.yaml:4:16: pools\.a\.slowStart/],
    ['listen.yaml', 'pools: { web: [http://a:1] }\nlisten:\n  - :1\n  - nowhere\n', /listen\.yaml:4:5: listen\[1\] must be 'host:port'/],
    ['layer7.yaml', 'stream: { listeners: [] }\nroutes: []\n', /layer7\.yaml:2:9: routes is for HTTP, and there are no/]
  ]
  for (const [name, text, message] of cases) {
    writeFileSync(join(dir, name), text)
    await t.rejects(readConfig(join(dir, name)), { message }, name)
  }
})

t.test('the published schema', async (t) => {
  const schema = await publishedSchema()
  const validate = new Ajv({ strict: false }).compile(schema)
  const good = [
    { $schema: './config.schema.json', pools: { web: ['http://a:1'] } },
    {
      listen: [':80', ':81'], closeTimeout: '10s', pools: { web: { upstreams: [{ url: 'http://a:1' }], slowStart: '30s', maxInFlight: '${MAX:-5}' } },
      routes: [{ prefix: '/', rules: [{ match: { path: '/a/*', header: { 'x-a': { pattern: 'b' } } }, pool: { web: 1 }, bodyLimit: '1MiB' }], retry: false }], cache: true, sticky: { idleTimeout: '1h' }
    },
    { stream: { listeners: [{ listen: ':1', pool: { upstreams: ['tcp://a:1'] } }] } }
  ]
  for (const value of good) t.ok(validate(value), JSON.stringify(validate.errors))
  for (const value of [{ colour: 1 }, { pools: { web: { upstreams: [], slowStart: 'soon' } } }, { routes: [{ prefix: '/', timeOut: 1 }] }, { listen: 8080 }]) t.notOk(validate(value), JSON.stringify(value))
})
