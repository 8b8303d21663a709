import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

interface Told { readonly pid: number; readonly index: number; readonly count: number; readonly checks: boolean; readonly heard: readonly string[] }
interface Who { readonly pids: readonly number[]; readonly checker: number }

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))

async function until (holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => { setTimeout(resolve, 10) })
}

/** A request over a connection of its own. */
function ask (address: string, path = '/'): Promise<string> {
  return new Promise((resolve, reject) => {
    get(`http://${address}${path}`, { agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => { text += chunk })
      response.on('end', () => { resolve(text) })
      response.on('error', reject)
    }).on('error', reject)
  })
}

async function primary (t: Test, count: number, env: Record<string, string> = {}) {
  const child = fork(fixture('primary.mjs'), [String(count), fixture('worker.mjs')], { execArgv: [], env: { PATH: process.env['PATH'], ...env } })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    if (child.connected) child.send('stop')
    await ended
  })
  const messages: Record<string, unknown>[] = []
  child.on('message', (message) => { messages.push(message as Record<string, unknown>) })
  /** The next message with a field. */
  const heard = async (field: string, from = 0): Promise<Record<string, unknown>> => {
    let found: Record<string, unknown> | undefined
    await until(async () => (found = messages.slice(from).find((message) => field in message)) !== undefined)
    return found!
  }
  const send = async (what: string, ...fields: string[]): Promise<Record<string, unknown>> => {
    const from = messages.length
    child.send(what)
    let found: Record<string, unknown> | undefined
    await until(async () => (found = messages.slice(from).find((message) => fields.some((field) => field in message))) !== undefined)
    return found!
  }
  const who = async (): Promise<Who> => await send('who', 'pids') as unknown as Who
  return { child, ended, messages, heard, send, who }
}

const told = async (address: string): Promise<Told> => JSON.parse(await ask(address)) as Told

t.test('connections go round, one checks for all, metrics are sums', async (t) => {
  const { heard, who } = await primary(t, 3)
  const { address } = await heard('address') as { address: string }
  const counts = new Map<number, number>()
  for (let i = 0; i < 30; i++) {
    const { pid, count } = await told(address)
    t.equal(count, 3)
    counts.set(pid, (counts.get(pid) ?? 0) + 1)
  }
  const { pids, checker } = await who()
  t.same(new Set(counts.keys()), new Set(pids))
  t.same([...counts.values()], [10, 10, 10], 'evenly')
  await until(async () => (await told(address)).heard.includes(String(checker)))
  const all: Told[] = []
  for (let i = 0; i < 6; i++) all.push(await told(address))
  t.equal(all.filter(({ checks }) => checks).length, 2, 'one of three checks')
  t.ok(all.every(({ pid, checks }) => checks === (pid === checker)))
  t.match(await ask(address, '/metrics'), /^requests_total \d\d$/m)
  const before = Number(/^requests_total (\d+)$/m.exec(await ask(address, '/metrics'))![1])
  t.equal(before >= 37, true, 'of all workers together')
})

t.test('one that dies is replaced, and another checks in its place', async (t) => {
  const { heard, who, messages } = await primary(t, 2)
  const { address } = await heard('address') as { address: string }
  const { checker, pids } = await who()
  process.kill(checker, 'SIGKILL')
  await until(async () => (await who()).checker !== checker)
  const next = (await who()).checker
  t.equal(next, pids.find((pid) => pid !== checker), 'the one that was there')
  for (let i = 0; i < 4; i++) await told(address)
  await until(async () => messages.some(({ log }) => log === 'a worker was replaced'))
  const now = await who()
  t.equal(now.pids.length, 2)
  t.notOk(now.pids.includes(checker) || now.pids.includes(0))
  t.equal(now.checker, next)
  await until(async () => { const one = await told(address); return one.pid !== next && one.heard.includes(String(next)) })
  t.pass('the new one hears of checks')
})

t.test('a reload renews all, one after the other, and no request fails', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hg-workers-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const flag = join(folder, 'broken')
  const { heard, who, send } = await primary(t, 2, { BROKEN: flag })
  const { address } = await heard('address') as { address: string }
  const before = await who()
  let [stop, requests] = [false, 0]
  const failed: string[] = []
  const load = async (): Promise<void> => {
    while (!stop) await ask(address).then(() => { requests++ }, (error: unknown) => { failed.push((error as Error).message) })
  }
  const work = [load(), load(), load()]
  await until(async () => requests > 50)
  t.match(await send('reload', 'reloaded', 'failed'), { reloaded: true })
  const after = await who()
  t.notOk(after.pids.some((pid) => before.pids.includes(pid)))
  writeFileSync(flag, '')
  t.match(await send('reload', 'reloaded', 'failed'), { failed: /worker 0 ended with status 7/, status: 7 })
  const from = requests
  await until(async () => requests > from + 20)
  t.same((await who()).pids, after.pids, 'the old ones stay when a new one does not start')
  stop = true
  await Promise.all(work)
  t.same(failed, [])
})

t.test('one that cannot start ends all, with its status', async (t) => {
  const { heard, ended } = await primary(t, 2, { BROKEN: fixture('worker.mjs') })
  t.match(await heard('failed'), { status: 7 })
  await ended
})

t.test('a connection that is on its way to a worker when that is killed ends, and does not hang', async (t) => {
  const { child, ended, heard, who } = await primary(t, 1)
  const { address } = await heard('address') as { address: string }
  const { pids: [pid] } = await who()
  // It takes nothing any more, so what it is handed stays under way.
  process.kill(pid!, 'SIGSTOP')
  const answer = ask(address).then(() => 'answered', (error: unknown) => (error as NodeJS.ErrnoException).code)
  const [, port] = address.split(':')
  // Accepted by the primary, and handed over: the next message of the primary comes after that.
  const probe = connect(Number(port), '127.0.0.1')
  await once(probe, 'connect')
  probe.destroy()
  await who()
  process.kill(pid!, 'SIGKILL')
  t.equal(await answer, 'ECONNRESET')
  await until(async () => { const { pids } = await who(); return pids[0] !== 0 && pids[0] !== pid })
  child.send('stop')
  await ended
  t.pass('one that starts is not waited for when all are to end')
})
