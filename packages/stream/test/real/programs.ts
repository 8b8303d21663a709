import { type ChildProcess, execFile, spawn, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { find } from '../../../../tools/system.mjs'
import type { Test } from '../helpers.ts'

export const command = (name: string): string => (find as (name: string) => string | undefined)(name) ?? name

/** A port that was free a moment ago, for programs that cannot choose one themselves. */
export async function freePort (): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => { server.close(resolve) })
  return port
}

export function folder (t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'hg-stream-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Starts a server, and ends it with the test. Its output is shown when it ends by itself. */
export function start (t: Test, name: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const child = spawn(command(name), args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  })
  // Nobody reads it, and it must not fill up.
  child.stdout?.resume()
  child.stderr?.resume()
  return child
}

/** Waits until somebody accepts connections at a port. */
export async function accepts (port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const open = await new Promise<boolean>((resolve) => {
      socket.on('connect', () => { resolve(true) })
      socket.on('error', () => { resolve(false) })
    })
    socket.destroy()
    if (open) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const execute = promisify(execFile)

/** Runs a client to its end; rejects when it fails. */
export async function run (name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  const { stdout } = await execute(command(name), [...args], { timeout: 60_000, env: { ...process.env, ...env }, maxBuffer: 16 * 1024 * 1024 })
  return stdout
}
