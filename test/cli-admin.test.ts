import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { skipWithout } from '../tools/system.mjs'

const cli = fileURLToPath(new URL('../packages/headgate/dist/cli.js', import.meta.url))

async function upstream (t: Test, name: string): Promise<string> {
  const server = createServer((_, response) => response.end(name))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

interface Run { readonly child: ChildProcess; out (): string; err (): string; readonly ended: Promise<number | null> }

function start (t: Test, command: string, args: string[], env: Record<string, string> = {}): Run {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'], TERM: 'xterm', ...env } })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString() })
  const ended = new Promise<number | null>((resolve) => { child.on('close', resolve) })
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  })
  return { child, out: () => out, err: () => err, ended }
}

async function until (condition: () => boolean, run: Run): Promise<void> {
  while (!condition()) {
    if (run.child.exitCode !== null) throw new Error(`ended: ${run.out()}${run.err()}`)
    await new Promise((resolve) => { setTimeout(resolve, 20) })
  }
}

/** `headgate serve` with --admin; gives its address, and a way to run commands against it. */
async function serve (t: Test, upstreams: string[], env: Record<string, string> = {}, args = ['--listen', '127.0.0.1:0', '--admin', '/steer']) {
  const run = start(t, process.execPath, [cli, 'serve', ...args, ...upstreams.flatMap((spec) => ['--upstream', spec])], env)
  await until(() => run.out().includes('"listening"'), run)
  const url = (JSON.parse(run.out().split('\n').find((line) => line.includes('"listening"'))!) as { address: string }).address
  const command = async (args: string[], env: Record<string, string> = {}) => {
    const run = start(t, process.execPath, [cli, ...args, '--url', `${url}/steer`], env)
    return { status: await run.ended, out: run.out(), err: run.err() }
  }
  return { url, command }
}

t.setTimeout(600_000)

t.test('commands steer a running proxy', async (t) => {
  const [a, b] = [await upstream(t, 'a'), await upstream(t, 'b')]
  const { url, command } = await serve(t, [`${a};id=a`])
  t.match((await fetch(`${url}/steer/`)).status, 200, 'the dashboard')
  t.match(await (await fetch(`${url}/steer/metrics`)).text(), 'headgate_upstream_state')
  t.equal(await (await fetch(url)).text(), 'a')

  t.same(await command(['add', `${b};id=b;weight=3`]), { status: 0, out: `default ${b} member: false -> true\n`, err: '' })
  t.match(await command(['weight', 'b', '5']), { status: 0, out: `default ${b} weight: 3 -> 5\n` })
  t.match(await command(['drain', a, '--reason', 'new disk']), { status: 0, out: `default ${a} operator: auto -> drain\n` })
  t.equal(await (await fetch(url)).text(), 'b')
  t.match((await command(['explain', '/x'])).out, /route \/, sent as \/x\npool default \(adaptive\): policy -> b\n +- a .*drained by an operator: new disk/)
  t.match(JSON.parse((await command(['explain', 'POST', '/x', '--json'])).out), { pools: [{ upstream: 'b' }] })
  t.match(await command(['auto', 'a']), { status: 0, out: /drain -> auto/ })
  t.match(await command(['maintenance', 'b']), { status: 0, out: /auto -> maintenance/ })
  t.match(await command(['remove', 'b']), { status: 0, out: /member: true -> false/ })

  const { status, out } = await command(['top', '--once', '--json'])
  t.equal(status, 0)
  t.match(JSON.parse(out), { pools: [{ name: 'default' }], upstreams: [{ id: 'a', state: 'up' }] })
  t.match((await command(['top', '--once'])).out, /STATE +UPSTREAM .*\n\+ up +http/)
  t.notMatch((await command(['top', '--once'])).out, '\u001b', 'no colours where there is no terminal')

  t.match(await command(['purge', '--all']), { status: 1, err: /there is no cache to purge/ })
  t.match(await command(['drain', 'nobody']), { status: 1, err: /there is no upstream 'nobody'; there are a/ })
  t.match(await command(['weight', 'a', 'heavy']), { status: 2, err: /0–65535/ })
  t.match(await command(['top', '--all']), { status: 2, err: /--all does not go with 'top'/ })
})

t.test('shares of splits and maintenance of routes', async (t) => {
  const [a, b] = [await upstream(t, 'a'), await upstream(t, 'b')]
  const dir = mkdtempSync(join(tmpdir(), 'headgate-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'headgate.config.json')
  writeFileSync(file, JSON.stringify({
    listen: '127.0.0.1:0', admin: { prefix: '/steer' }, pools: { stable: [a], canary: [b] },
    routes: [{ prefix: '/', rules: [{ pool: { stable: 95, canary: 5 }, splitOn: 'random' }] }, { prefix: '/shop', pool: 'stable' }]
  }))
  const { url, command } = await serve(t, [], {}, ['--config', file])
  t.same(await command(['split']), { status: 0, out: 'split /#0: stable=95 (95%) canary=5 (5%)\nroute /: open\nroute /shop: open\n', err: '' })
  t.same(await command(['split', '/#0', 'stable=0', 'canary=1']), { status: 0, out: '/#0 stable share: 95 -> 0\n/#0 canary share: 5 -> 1\n', err: '' })
  t.equal(await (await fetch(url)).text(), 'b')
  t.match(await command(['split', '/#0', 'canary=0']), { status: 1, err: /needs a weight above 0/ })
  t.match(await command(['split', 'none', 'canary=0']), { status: 1, err: /there is no split 'none'/ })

  t.same(await command(['close', '/shop']), { status: 0, out: 'route /shop maintenance: false -> true\n', err: '' })
  t.equal((await fetch(`${url}/shop`)).status, 503)
  t.match(JSON.parse((await command(['split', '--json'])).out), { splits: [{ name: '/#0', weights: { stable: 0, canary: 1 } }], routes: [{}, { prefix: '/shop', maintenance: true }] })
  t.match(await command(['close', '--all']), { status: 0, out: /route \/ maintenance: false -> true\nwarning: all routes would be closed/ })
  t.match(await command(['open', '--all']), { status: 0, out: /route \/ .*\nroute \/shop maintenance: true -> false/ })
  t.equal((await fetch(`${url}/shop`)).status, 200)

  for (const bad of [['split', '/#0'], ['split', '/#0', 'canary'], ['split', '/#0', 'canary=-1'], ['close'], ['open', '/', '--all'], ['split', '--all']]) {
    t.match(await command(bad), { status: 2 }, bad.join(' '))
  }
})

t.test('a token opens the door to others; without one only this machine may', async (t) => {
  const a = await upstream(t, 'a')
  const open = await serve(t, [a])
  const from = (headers: Record<string, string>) => fetch(`${open.url}/steer/api/pools`, { headers }).then(({ status }) => status)
  t.equal(await from({}), 200)
  t.equal(await from({ 'x-forwarded-for': '10.0.0.1' }), 403)
  const { request } = await import('node:http')
  const rebound = await new Promise((resolve) => { request(`${open.url}/steer/api/pools`, { headers: { host: 'evil.example' } }, (response) => { resolve(response.resume().statusCode) }).end() })
  t.equal(rebound, 403, 'a foreign name for this address')

  const HEADGATE_ADMIN_TOKEN = 'a-token-for-this-test'
  const { url, command } = await serve(t, [a], { HEADGATE_ADMIN_TOKEN })
  t.equal((await fetch(`${url}/steer/api/pools`)).status, 401)
  t.equal((await fetch(`${url}/steer/api/pools`, { headers: { authorization: `Basic ${Buffer.from(`x:${HEADGATE_ADMIN_TOKEN}`).toString('base64')}` } })).status, 200)
  t.match(await command(['top', '--once']), { status: 1, err: /token is required/ })
  t.match(await command(['top', '--once'], { HEADGATE_ADMIN_TOKEN }), { status: 0 })
})

t.test('check-config', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'headgate-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const check = async (name: string, config: object) => {
    writeFileSync(join(dir, name), JSON.stringify(config))
    const run = start(t, process.execPath, [cli, 'check-config', join(dir, name)])
    return { status: await run.ended, out: run.out(), err: run.err() }
  }
  t.match(await check('good.json', { pools: { web: ['http://127.0.0.1:1'] }, admin: { prefix: '/x', scaling: { window: '1m' } } }), { status: 0, out: /is good/ })
  const advice = await check('advice.json', { pools: { web: ['http://127.0.0.1:1'] }, admin: { scaling: { min: 9, max: 3 } } })
  t.match(advice, { status: 2, err: /advice\.json:1:\d+: admin\.scaling\.min: must not be above max \(3\)/ })
  t.match(await check('bad.json', { pools: { web: ['http://127.0.0.1:1'] }, routes: [{ prefix: '/', pool: 'wbe' }] }), { status: 2, err: /routes\[0\].*wbe/ })
})

t.test('nobody there', async (t) => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const run = start(t, process.execPath, [cli, 'top', '--once', '--url', `http://127.0.0.1:${port}/headgate`])
  t.equal(await run.ended, 1)
  t.match(run.err(), /does not answer \(ECONNREFUSED\): is it running, with --admin\?/)
})

t.test('top in a terminal: live, coloured, fits the screen, and leaves it as it was', { skip: skipWithout('script') }, async (t) => {
  const a = await upstream(t, 'a')
  const { url, command } = await serve(t, [`${a};id=a`, 'http://127.0.0.1:1;id=b'])
  // script(1) gives the command a pseudo-terminal; stty its size.
  const run = start(t, 'script', ['-qec', `stty cols 70 rows 12; exec '${process.execPath}' '${cli}' top --url '${url}/steer'`, '/dev/null'])
  await until(() => run.out().includes('+ up'), run)
  await command(['maintenance', 'b', '--reason', 'new disk'])
  await until(() => run.out().includes('= maintenance'), run)
  const frames = run.out().split('\u001b[H').slice(1)
  const last = frames.at(-1)!
  // eslint-disable-next-line no-control-regex
  const lines = last.replace(/\u001b\[[\d;?]*[A-Za-z]/g, '').split(/\r*\n/)
  t.ok(lines.length <= 12, 'no more lines than the screen has')
  t.ok(lines.every((line) => line.length <= 70), 'no longer than the screen is wide')
  t.match(last, '\u001b[32m', 'colours')
  t.ok(frames.length > 1, 'drawn anew')
  run.child.kill('SIGTERM')
  await run.ended
})
