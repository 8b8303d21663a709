import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { assert, property, string } from 'fast-check'
import t from 'tap'
import { readConfig } from '../src/config/read.ts'
import { importHaproxy } from '../src/import/haproxy.ts'
import { importFile } from '../src/import/index.ts'
import { importNginx } from '../src/import/nginx.ts'
import { build } from '../src/serve.ts'

const file = (name: string): string => fileURLToPath(new URL(`./import/${name}`, import.meta.url))

for (const [kind, name] of [['nginx', 'site.nginx.conf'], ['haproxy', 'edge.haproxy.cfg']] as const) {
  t.test(`${name} becomes ${name}.yaml, which is a configuration`, async (t) => {
    const text = (await importFile(kind, file(name))).text(name)
    t.equal(text, readFileSync(file(`${name}.yaml`), 'utf8'))
    const copy = join(t.testdir({}), 'headgate.yaml')
    writeFileSync(copy, text)
    const app = await build({ ...await readConfig(copy), logLevel: 'silent' })
    await app.close()
  })
}

t.test('who may come: the first that fits decides, and a block of its own replaces what is around it', async (t) => {
  const { rules } = importNginx(`
    allow 192.0.2.1;
    http {
      deny 198.51.100.0/24;
      server {
        server_name a.example;
        allow 10.0.0.0/8; allow 10.1.0.0/16; deny 203.0.113.7; allow 203.0.113.0/24; deny all; allow 1.1.1.1;
        location / { proxy_pass http://web:80; }
        location /open/ { allow all; proxy_pass http://web:80; }
        location = /robots { return 200 x; }
      }
      server { location / { proxy_pass http://web:80; } }
    }`, 'x')
  const short = rules.map(({ match, respond, pool }) => [match?.['path'] ?? '/', match?.['client'] ?? 'all', pool ?? (respond as { status: number }).status])
  t.same(short, [
    ['/robots', 'all', 200],
    ['/open/*', 'all', 'web:80'],
    ['/', ['10.0.0.0/8', '10.1.0.0/16'], 'web:80'], ['/', '203.0.113.7', 403], ['/', '203.0.113.0/24', 'web:80'], ['/', 'all', 403],
    ['/', '198.51.100.0/24', 403], ['/', 'all', 'web:80']
  ])
})

t.test('limits of clients are the whole\'s, where there is one server, or all are meant', async (t) => {
  const zone = 'limit_conn_zone $binary_remote_addr zone=c:1m; limit_conn_zone $host zone=h:1m;'
  const one = importNginx(`http { ${zone} server { limit_conn c 5; limit_conn h 3; location / { proxy_pass http://web:80; } } }`, 'x')
  t.same(one.config()['routes'], [{ prefix: '/', limits: { maxPerClient: 5 }, pool: 'web:80' }])
  t.match(one.notes, [{ directive: 'limit_conn_zone $host zone=h:1m' }, { directive: 'limit_conn h 3', reason: /limits\.maxPerClient/ }])
  const two = importNginx(`http { ${zone} server { limit_conn c 5; location / { proxy_pass http://web:80; } } server { location / { proxy_pass http://web:80; } } }`, 'x')
  t.same(two.route, {})
})

t.test('what is no configuration is refused', async (t) => {
  const cases: [string, RegExp][] = [
    ['http {\n server {\n', /x:2: this block has no end/], ['http { } }', /x:1: there is nothing for this \} to end/],
    ['http { listen 80 }', /x:1: 'listen' does not end with ;/], ['\n;', /x:2: ';' stands where a directive should/]
  ]
  for (const [text, message] of cases) t.throws(() => importNginx(text, 'x'), { name: 'UsageError', message }, text)
  await t.rejects(importFile('apache', 'x'), { name: 'UsageError', message: /knows nginx and haproxy, not 'apache'/ })
  await t.rejects(importFile('nginx', file('none')), { name: 'UsageError', message: /cannot be read/ })
  await t.rejects(importFile('haproxy', file('site.nginx.conf')), { name: 'UsageError', message: /nothing in .* could be translated/ })
})

t.test('no text makes it fail otherwise', async () => {
  assert(property(string({ maxLength: 200, unit: 'binary-ascii' }), (text) => {
    importHaproxy(`frontend a\n${text}\nbackend b\n${text}`)
    try {
      importNginx(`http { ${text} }`, 'x')
    } catch (error) {
      return (error as Error).name === 'UsageError'
    }
    return true
  }))
})

t.test('nginx: no bound of tries is as many as there can be, not none', async (t) => {
  for (const [tries, attempts] of [[0, 10], [1, 0], [3, 2], [99, 10]]) {
    const { rules } = importNginx(`http { server { listen 80; location / { proxy_pass http://127.0.0.1:1; proxy_next_upstream_tries ${tries}; } } }`, 'x')
    t.same(rules.map(({ retry }) => retry), [{ attempts }])
  }
})
