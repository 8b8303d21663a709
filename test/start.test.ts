import { execFile, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { skipWithout } from '../tools/system.mjs'

interface Demo {
  readonly ended: Promise<number | null>
  /** Waits for a line that the demo prints. */
  said (pattern: RegExp): Promise<RegExpExecArray>
  /** Signals the whole group, as a terminal does. */
  end (signal: NodeJS.Signals): void
}

/**
 * Runs what `npm start` runs. tap adds loaders of its own to the environment of all that tests start, which tsc cannot do with:
 * `env -i` keeps them out.
 */
function demo (test: Test): Demo {
  const child = spawn('env', ['-i', `PATH=${process.env['PATH']}`, `HOME=${process.env['HOME']}`, 'PORT=0', process.execPath, 'tools/start.mjs'], {
    cwd: fileURLToPath(new URL('..', import.meta.url)), detached: true, stdio: ['ignore', 'pipe', 'pipe']
  })
  let out = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { out += chunk.toString() })
  const ended = new Promise<number | null>((resolve) => { child.once('close', resolve) })
  const end = (signal: NodeJS.Signals): void => { process.kill(-child.pid!, signal) }
  test.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) end('SIGTERM')
    await ended
  })
  return {
    ended, end,
    async said (pattern) {
      for (;;) {
        const found = pattern.exec(out)
        if (found !== null) return found
        if (child.exitCode !== null) throw new Error(`ended: ${out}`)
        await new Promise((resolve) => { setTimeout(resolve, 20) })
      }
    }
  }
}

const shell = async (line: string): Promise<string> => (await promisify(execFile)('bash', ['-c', line])).stdout

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

t.test('npm start: what it prints to try does what it says, and Ctrl-C leaves nothing behind', { skip: skipWithout('curl') }, async (t) => {
  const { said, ended, end } = demo(t)
  const text = (await said(/^[^]*Ctrl-C stops all of it\./))[0]
  const lines = text.split('\n').map((one) => one.trim())
  const line = (after: string): string => lines.slice(lines.findIndex((one) => one.startsWith(after))).find((one) => /^(curl|for|kill) /.test(one))!
  const pids = [...text.matchAll(/^ {2}(\w+) +http:\S+ {2}pid (\d+)$/gm)].map(([, name, pid]) => ({ name: name!, pid: Number(pid) }))
  t.same(pids.map(({ name }) => name), ['alpha', 'beta', 'gamma'])
  const spread = async (): Promise<Record<string, number>> => Object.fromEntries((await shell(line('How 30 requests spread'))).trim().split('\n')
    .map((one) => /(\d+) "upstream":"(\w+)"/.exec(one)!).map(([, count, name]) => [name!, Number(count)]))

  t.match(await shell(line('One request')), /"upstream":"(alpha|beta|gamma)".*"url":"\/hello"/)
  // The demo's own visitors take turns as well, so the thirty are not shared to the last one.
  const counts = await spread()
  t.same(Object.keys(counts), ['alpha', 'beta', 'gamma'])
  t.equal(Object.values(counts).reduce((sum, count) => sum + count), 30)
  t.match(await shell(line('Give gamma')), /"id":"gamma",[^}]*"weight":3/)
  await shell(line('What it knows'))

  end('SIGINT')
  t.equal(await ended, 0)
  for (const { name, pid } of pids) t.notOk(alive(pid), `${name} is gone`)
})

t.test('npm start: an upstream is killed under load and comes back, without one failed request', async (t) => {
  const { said, ended, end } = demo(t)
  const url = (await said(/listens on (http:\/\/127\.0\.0\.1:\d+) /))[1]!
  const victim = Number((await said(/ {2}kill -9 (\d+)/))[1])
  const answers: Record<string, number> = {}
  const run = { on: true }
  const ask = async (): Promise<void> => {
    while (run.on) {
      const response = await fetch(url)
      const who = `${response.status} ${(await response.json() as { upstream: string }).upstream}`
      answers[who] = (answers[who] ?? 0) + 1
    }
  }
  const load = [ask(), ask(), ask(), ask()]
  await said(/Ctrl-C/)
  process.kill(victim, 'SIGKILL')
  await said(/alpha: up → \w+ \(/)
  await said(/alpha runs again \(pid \d+\)/)
  await said(/alpha: \w+ → up \(/)
  const before = answers['200 alpha'] ?? 0
  while ((answers['200 alpha'] ?? 0) === before) await new Promise((resolve) => { setTimeout(resolve, 20) })
  run.on = false
  await Promise.all(load)
  t.same(Object.keys(answers).sort(), ['200 alpha', '200 beta', '200 gamma'], 'nothing but 200')
  end('SIGTERM')
  t.equal(await ended, 0)
})
