import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { skipWithout } from '../tools/system.mjs'
import { cli, ready, run, upstream } from './processes.ts'

type Process = Awaited<ReturnType<typeof ready>>

const folder = (t: { teardown (action: () => void): void }): string => {
  const dir = mkdtempSync(join(tmpdir(), 'headgate-'))
  t.teardown(() => { rmSync(dir, { recursive: true }) })
  return dir
}

/** Waits for a line of the log with all of these texts; the test's own timeout ends a wait in vain. */
async function line (process: Process, ...texts: string[]): Promise<void> {
  while (!process.stdout().split('\n').some((line) => texts.every((text) => line.includes(text)))) {
    if (process.child.exitCode !== null) throw new Error(`ended: ${process.stderr()}`)
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
}

t.test('a file is read again on SIGHUP and when it changes; a bad one changes nothing', async (t) => {
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => upstream(t, name)))
  const file = join(folder(t), 'headgate.config.yaml')
  const config = (text: string): string => `listen: 127.0.0.1:0\npools:\n  web: [${text}]\n`
  const replace = (text: string): void => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  writeFileSync(file, config(a!))
  const process = await ready(run(t, 'serve', '-c', file))
  const get = async (): Promise<string> => (await fetch(process.url)).text()
  t.equal(await get(), 'a')
  writeFileSync(file, config(b!))
  t.equal(await get(), 'a', 'not without being told')
  process.child.kill('SIGHUP')
  await line(process, '"configuration reloaded"', '"path":"pools.web.upstreams[0]"', '"effect":"in-place"')
  t.equal(await get(), 'b')
  writeFileSync(file, `${config(c!)}colour: red\n`)
  process.child.kill('SIGHUP')
  await line(process, '"level":50', 'configuration not reloaded', `${file}:4:1: colour: unknown option`)
  t.equal(await get(), 'b')
  writeFileSync(file, `${config(c!)}routes: [{ prefix: /, pool: other }]\n`)
  process.child.kill('SIGHUP')
  await line(process, 'configuration not reloaded', `${file}:4:29: routes[0].pool: must be one of the pools web; got 'other'`)
  t.equal(await get(), 'b')

  writeFileSync(file, config(a!))
  const watching = await ready(run(t, 'serve', '-c', file, '--watch'))
  replace('pools: {')
  await line(watching, 'the file has changed', 'configuration not reloaded')
  replace(config(c!))
  await line(watching, 'the file has changed', '"configuration reloaded"')
  t.equal(await (await fetch(watching.url)).text(), 'c')
  t.equal(watching.stderr(), '')
})

t.test('the line that says it is ready comes at every level, and several addresses with it', async (t) => {
  const a = await upstream(t, 'a')
  for (const level of ['silent', 'fatal', 'error']) {
    const process = await ready(run(t, 'serve', '--upstream', a, '--listen', '127.0.0.1:0', '--log-level', level))
    await (await fetch(process.url)).text()
    t.match(process.stdout(), /^\{[^\n]*"msg":"listening"\}\n$/, level)
  }
  const file = join(folder(t), 'two.json')
  writeFileSync(file, JSON.stringify({ listen: ['127.0.0.1:0', 'localhost:0'], pools: { web: [a] } }))
  const process = await ready(run(t, 'serve', '--config', file))
  const { addresses } = JSON.parse(process.stdout().split('\n').find((line) => line.includes('"listening"'))!) as { addresses: string[] }
  t.equal(addresses.length, 2)
  for (const url of addresses) t.equal(await (await fetch(url)).text(), 'a')
})

t.test('check-config: nothing is started, mistakes have a place', async (t) => {
  const dir = folder(t)
  const taken = new URL(await upstream(t, 'x')).host
  const write = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }
  const good = write('good.yaml', `listen: ${taken}\npools: { web: ['http://127.0.0.1:1'] }\nstream:\n  listeners: [{ listen: '${taken}', pool: ['tcp://127.0.0.1:1'] }]\nhealth: { check: {} }\n`)
  const checked = run(t, 'check-config', good)
  t.same(await checked.ended, { status: 0, signal: null }, checked.stderr())
  t.equal(checked.stdout(), `${good} is good\n`, 'although its addresses are in use')
  const flagged = run(t, 'check-config', '-c', good)
  t.same(await flagged.ended, { status: 0, signal: null }, 'as serve takes it')
  const helped = run(t, 'check-config', '--help')
  t.same(await helped.ended, { status: 0, signal: null })
  t.match(helped.stdout(), /^Usage: headgate/)
  const cases: [string, string, RegExp][] = [
    ['pool.yaml', 'pools:\n  web: [http://a:1]\nroutes:\n  - prefix: /\n    rules:\n      - pool: wbe\n', /pool\.yaml:6:15: routes\[0\]\.rules\[0\]\.pool: must be one of the pools web; got 'wbe'\n$/],
    ['twice.json', '{\n "pools": { "web": ["http://a:1",\n "http://a:1"] }\n}', /twice\.json:3:2: pools\.web\.upstreams\[1\]: 'http:\/\/a:1' is already in the pool/],
    ['env.yaml', 'pools:\n  web: ["${NOT_THERE}"]\n', /env\.yaml:2:9: pools\.web\[0\]: the environment variable NOT_THERE is not set/],
    ['nested.yaml', 'pools: { web: [http://a:1] }\ncompress:\n  threshold: -1\n', /nested\.yaml:3:14: compress\.threshold: must be >= 0; got -1\n$/]
  ]
  for (const [name, text, message] of cases) {
    const { ended, stderr, stdout } = run(t, 'check-config', write(name, text))
    t.same(await ended, { status: 2, signal: null }, name)
    t.match(stderr(), message, name)
    t.equal(stdout(), '')
  }
  const modules = run(t, 'check-config', write('m.mjs', 'export default { pools: { web: ["http://a:1"] }, routes: [{ prefix: "/", pool: "b" }] }'))
  t.same(await modules.ended, { status: 2, signal: null })
  t.match(modules.stderr(), /m\.mjs\.routes\[0\]\.pool: must be one of/)
})

t.test('init writes a file that serves, and replaces none', async (t) => {
  const file = join(folder(t), 'site.yaml')
  const up = await upstream(t, 'a')
  const first = run(t, 'init', file, '--upstream', up, '--listen', '127.0.0.1:0', '--cache')
  t.same(await first.ended, { status: 0, signal: null })
  t.match(first.stdout(), `headgate serve -c ${file}`)
  const check = run(t, 'check-config', file)
  t.same(await check.ended, { status: 0, signal: null })
  const { url } = await ready(run(t, 'serve', '-c', file))
  t.match((await fetch(url)).headers.get('cache-status'), /^headgate;/)
  const text = readFileSync(file, 'utf8')
  for (const [args, message] of [
    [[file, '--upstream', up], /site\.yaml is there already: --force replaces it/],
    [[`${file}.new.json`, '--format', 'yaml', '--upstream', up], /--format yaml does not go with the name/],
    [['x.toml', '--upstream', up], /the file must be yaml, json, ts; it is 'toml'/],
    [[`${file}.yaml`], /nobody to forward to: give --upstream URL .*, or answer in a terminal/],
    [[`${file}.yaml`, '--upstream', 'ftp://x'], /--upstream\[0\]: must be an origin/],
    [[join(file, 'in', 'a', 'file.yaml'), '--upstream', up], /cannot be written: ENOTDIR/]
  ] as const) {
    const refused = run(t, 'init', ...args)
    t.same(await refused.ended, { status: 2, signal: null }, args.join(' '))
    t.match(refused.stderr(), message)
  }
  t.equal(readFileSync(file, 'utf8'), text)
  t.same(await run(t, 'init', file, '--force', '--upstream', up).ended, { status: 0, signal: null })
  t.not(readFileSync(file, 'utf8'), text)
})

t.test('init asks in a terminal for what no flag says, again where an answer is wrong', { skip: skipWithout('script') }, async (t) => {
  const dir = folder(t)
  const file = join(dir, 'asked.yaml')
  // script(1) gives the command a pseudo-terminal.
  const terminal = async (answers: readonly (readonly [prompt: string, answer: string])[], flags = ''): Promise<{ status: number | null; out: string }> => {
    const child = spawn('env', ['-i', `PATH=${process.env['PATH']}`, 'TERM=xterm', 'script', '-qec', `exec '${process.execPath}' '${cli}' init '${file}' ${flags}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = once(child, 'close') as Promise<[number | null]>
    t.teardown(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended
    })
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
    let seen = 0
    for (const [prompt, answer] of answers) {
      for (let at = out.indexOf(prompt, seen); ; at = out.indexOf(prompt, seen)) {
        if (at !== -1) {
          seen = at + prompt.length
          break
        }
        if (child.exitCode !== null) throw new Error(`ended: ${out}`)
        await new Promise((resolve) => { setTimeout(resolve, 10) })
      }
      child.stdin.write(answer)
    }
    const [status] = await ended
    return { status, out }
  }
  const left = await terminal([['Servers behind it', '\u0003']])
  t.match(left, { status: 2, out: /nothing was written/ })
  t.notOk(existsSync(file))
  const { status, out } = await terminal([
    ['Servers behind it', '\n'], ['an answer is needed', ''], ['Servers behind it', 'http://127.0.0.1:1 ftp://x\n'], ['must be an origin', ''], ['Servers behind it', 'http://127.0.0.1:1 http://127.0.0.1:2;weight=2\n'],
    ['Listen at', ':8443\n'], ['How to choose', 'best\n'], ['--policy must be one of', ''], ['How to choose', '\n'], ['Path that says', '/healthz\n'], ['Clients stay', '\n'], ['Compress', 'y\n'],
    ['HTTPS: file of the certificate', '/etc/a.pem\n'], ['HTTPS: file of its key', '/etc/a.key\n'], ['redirect', '\n'], ['Path of the dashboard', '\n'], ['is written', '']
  ], '--cache')
  t.equal(status, 0, out)
  t.notMatch(out, 'Keep responses', 'a flag said so')
  const text = readFileSync(file, 'utf8')
  for (const part of ['- http://127.0.0.1:1\n', '- http://127.0.0.1:2;weight=2\n', '\nlisten: :8443\n', '\n    path: /healthz\n', '\ncache: true\n', '\ncompress: true\n', '    - cert: /etc/a.pem\n', '\n# sticky:', '\n# admin:']) t.match(text, part)
})
