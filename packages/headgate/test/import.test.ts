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
