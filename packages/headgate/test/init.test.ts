import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { policies } from '@headgate/core'
import { readConfig } from '../src/config/read.ts'
import { optionsOf } from '../src/init/flags.ts'
import { formats, writeConfig } from '../src/init/write.ts'
import { build } from '../src/serve.ts'

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~\w-]{1,12}$/)
const time = fc.constantFrom('500ms', '2s', '1.5m', '250')

/** Flags of `serve`, each there or not. */
const given = fc.record({
  upstream: fc.uniqueArray(fc.record({ port: fc.integer({ min: 1, max: 65_535 }), more: fc.constantFrom('', ';weight=3', ';backup', ';zone=a b', ';zone=${X}') }), { minLength: 1, maxLength: 3, selector: ({ port }) => port })
    .map((all) => all.map(({ port, more }) => `http://127.0.0.1:${port}${more}`)),
  listen: fc.constantFrom(':0', '[::1]:8080', 'unix:/run/${X}/s', "unix:/tmp/it's: #1"),
  policy: fc.constantFrom(...Object.keys(policies)),
  'connect-timeout': time, timeout: time, 'health-interval': time, 'client-headers-timeout': time,
  'health-path': fc.constantFrom('/healthz', '/a:b#c', "/it's", '/${X}'),
  'no-passive': fc.constant(true), cache: fc.constant(true), compress: fc.constant(true),
  sticky: fc.oneof(fc.constantFrom('cookie', 'source-ip'), token.map((name) => `app-cookie:${name}`), token.map((name) => `header:${name}`), fc.string({ minLength: 1 }).map((name) => `query:${name}`)),
  'trust-proxy': fc.constantFrom('loopback', '10.0.0.0/8, ::1'),
  'tls-cert': fc.constantFrom('/etc/tls/a.pem', "/it's/\\a.pem", '/${X}/ü.pem'), admin: fc.constant('/headgate'), 'log-level': fc.constantFrom('warn', 'silent')
}, { requiredKeys: ['upstream'] }).map((flags) => [
  ...Object.entries(flags).flatMap(([name, value]) => [value].flat().map((one) => one === true ? `--${name}` : `--${name}=${one}`)),
  ...'tls-cert' in flags ? ['--tls-key=/etc/tls/a.key', '--redirect-http=:80'] : []
])

/** A file in one of the formats, as `--config` reads it; TypeScript as Node would run it, on any Node. */
async function through (folder: string, flags: readonly string[], format: (typeof formats)[number], number: number): Promise<{ wanted: object; read: object }> {
  const wanted = await optionsOf(flags)
  const text = writeConfig(wanted, format, 'FILE')
  const file = join(folder, `${number}.${format === 'ts' ? 'mjs' : format}`)
  writeFileSync(file, format === 'ts' ? text.replace(/^import type .*$/m, '').replace(' satisfies ServeOptions', '') : text)
  // Off and empty is the same as not said.
  const said = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== false && Object.keys(Object(value)).length + Number(typeof value !== 'object') > 0))
  return { wanted: said, read: await readConfig(file, {}) }
}

t.test('what is written says what the flags say, in every format', async (t) => {
  const folder = t.testdir({})
  let number = 0
  await fc.assert(fc.asyncProperty(given, fc.constantFrom(...formats), async (flags, format) => {
    const { wanted, read } = await through(folder, flags, format, number++)
    t.strictSame(JSON.parse(JSON.stringify(read)), JSON.parse(JSON.stringify(wanted)), flags.join(' '))
  }), { numRuns: 100 })
})

t.test('and passes what check-config checks', async (t) => {
  const folder = t.testdir({})
  let number = 0
  await fc.assert(fc.asyncProperty(given, fc.constantFrom(...formats), async (flags, format) => {
    const { read } = await through(folder, flags.filter((flag) => !/^--(tls|redirect)/.test(flag)), format, number++)
    const app = await build({ ...read, logLevel: 'silent' })
    await app.close()
  }), { numRuns: 20 })
})

t.test('what is not said stands there as a comment', async (t) => {
  const options = await optionsOf(['--upstream=http://127.0.0.1:1', '--cache'])
  const yaml = writeConfig(options, 'yaml', 'my.yaml')
  t.match(yaml, /^# yaml-language-server: \$schema=/)
  t.match(yaml, /`headgate check-config my\.yaml`/)
  t.match(yaml, /\n# compress: true\n/)
  t.match(yaml, /\ncache: true\n/)
  t.match(writeConfig(options, 'ts', 'x\n.ts'), /headgate serve -c FILE[^]*export default \{[^]*\n {2}cache: true,\n[^]*\n {2}\/\/ compress: true,\n/)
  // Taken out of their comments, the examples are good ones.
  const folder = t.testdir({})
  const file = join(folder, 'all.yaml')
  writeFileSync(file, yaml.replace(/^# ?((?:\w+:| {2,}).*)$/gm, '$1'))
  const all = await readConfig(file, {})
  t.same(Object.keys(all).toSorted(), ['admin', 'cache', 'clientHeadersTimeout', 'compress', 'health', 'listen', 'logLevel', 'pools', 'redis', 'routes', 'sticky', 'tls', 'trustProxy'])
  const { redis: _, ...rest } = all
  const app = await build({ ...rest, logLevel: 'silent' })
  await app.close()
})
