import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

t.test('npm start: an upstream is killed under load and comes back, without one failed request', async (t) => {
  const script = fileURLToPath(new URL('../tools/start.mjs', import.meta.url))
  // Without the flags that the test process itself runs under.
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env['PATH'], HOME: process.env['HOME'], PORT: '0' } })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  const ended = new Promise<number | null>((resolve) => { child.once('exit', resolve) })
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await ended
  })
  const said = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const found = pattern.exec(out)
      if (found !== null) return found
      if (child.exitCode !== null) throw new Error(`ended: ${out}`)
      await new Promise((resolve) => { setTimeout(resolve, 20) })
    }
  }
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
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})
