import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const cli = fileURLToPath(new URL('../packages/headgate/dist/cli.js', import.meta.url))

/** Runs the built command until it listens, or ends; gives its address, or its status and what it said. */
async function serve (test: Test, ...args: string[]): Promise<{ url: string; status: number | null; stderr: string }> {
  const child = spawn(process.execPath, [cli, 'serve', '--listen', '127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] } })
  const ended = once(child, 'close')
  let [out, stderr] = ['', '']
  child.stderr.on('data', (data: Buffer) => { stderr += data.toString() })
  test.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  })
  const url = new Promise<string>((resolve) => {
    child.stdout.on('data', (data: Buffer) => {
      out += data.toString()
      const line = out.split('\n').slice(0, -1).find((text) => text.includes('"listening"'))
      if (line !== undefined) resolve((JSON.parse(line) as { address: string }).address)
    })
  })
  const address = await Promise.race([url, ended.then(() => '')])
  return { url: address, status: child.exitCode, stderr }
}

t.test('--cache, and cache in a configuration file', async (t) => {
  let asked = 0
  const server = createServer((_, response) => { response.setHeader('cache-control', 'max-age=60').end(`answer ${++asked}`) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const folder = mkdtempSync(join(tmpdir(), 'headgate-cli-cache-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const file = join(folder, 'headgate.yaml')
  const store = join(folder, 'store')
  writeFileSync(file, `pools: { web: ['${upstream}'] }\ncache: { name: edge, memory: { maxBytes: 1MiB }, disk: { path: '${store}', maxBytes: 1GiB }, staleIfError: 1h }\n`)
  for (const [name, ...flags] of [['headgate', '--upstream', upstream, '--cache'], ['edge', '--config', file]] as const) {
    const { url, stderr } = await serve(t, ...flags)
    t.not(url, '', stderr)
    const first = await (await fetch(url)).text()
    const second = await fetch(url)
    t.equal(await second.text(), first)
    t.match(second.headers.get('cache-status'), new RegExp(`^${name}; (hit|fwd=uri-miss; stored; collapsed)`))
  }
  writeFileSync(file, `pools: { web: ['${upstream}'] }\ncache: { memry: {} }\n`)
  const wrong = await serve(t, '--config', file)
  t.equal(wrong.status, 2)
  t.match(wrong.stderr, /cache\.memry: unknown option/)
})
