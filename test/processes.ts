import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** The built command. */
export const cli: string = fileURLToPath(new URL('../packages/headgate/dist/cli.js', import.meta.url))

export interface Run {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  readonly ended: Promise<{ status: number | null; signal: string | null }>
}

/** What the command finds in its environment. */
export const environment: NodeJS.ProcessEnv = { PATH: process.env['PATH'] }

/** Runs the built command. */
export function run (test: Test, ...args: string[]): Run {
  return start(test, [process.execPath, cli, ...args])
}

/** Runs a command. tap adds loaders of its own to the environment of all that tests start: `env -i` keeps them out. */
export function start (test: Test, command: readonly string[], more: NodeJS.ProcessEnv = {}): Run {
  const variables = Object.entries({ ...environment, ...more }).map(([name, value]) => `${name}=${value}`)
  const child = spawn('env', ['-i', ...variables, ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString() })
  const ended = new Promise<{ status: number | null; signal: string | null }>((resolve) => {
    child.on('close', (status, signal) => resolve({ status, signal }))
  })
  test.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  })
  return { child, stdout: () => out, stderr: () => err, ended }
}

/** Runs `headgate serve` until it is ready; gives its address. */
export function serve (test: Test, ...args: string[]): Promise<Run & { url: string }> {
  return ready(run(test, 'serve', '--listen', '127.0.0.1:0', ...args))
}

export async function ready (process: Run): Promise<Run & { url: string }> {
  for (;;) {
    const line = process.stdout().split('\n').slice(0, -1).find((line) => line.includes('"listening"'))
    if (line !== undefined) return { ...process, url: (JSON.parse(line) as { address: string }).address }
    if (process.child.exitCode !== null) throw new Error(`ended while it started: ${process.stderr()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export async function upstream (test: Test, name: string, listener: RequestListener = (_, response) => response.end(name)): Promise<string> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Runs one of the scripts beside this file as a process of its own; gives the port that it tells, and the process. */
export async function script (test: Test, name: string, ...args: string[]): Promise<{ port: number; child: ChildProcess }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url)), ...args], { stdio: ['ignore', 'pipe', 'inherit'], env: {} })
  const ended = once(child, 'close')
  test.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const [line] = await once(child.stdout, 'data') as [Buffer]
  return { port: Number(line.toString()), child }
}

/** Resident memory of a process in bytes. */
export function memoryOf (pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
}

/** Process ids of those that a process has started. */
export function childrenOf ({ child: { pid } }: Run): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
}

/** What may be asked for: `body` is sent as JSON. */
export interface Question { readonly method?: string; readonly body?: object; readonly headers?: Record<string, string> }

/** A request as the admin API's clients send them, over a connection of its own: those go round among the workers. */
export function askAlone (url: string, { method = 'GET', body, headers = {} }: Question = {}): Promise<{ response: IncomingMessage; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(url, {
      agent: false, method, headers: { 'x-headgate-admin': '1', ...body !== undefined && { 'content-type': 'application/json' }, ...headers }
    }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => { text += chunk })
      response.on('end', () => { resolve({ response, text }) })
      response.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

export async function until (holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => { setTimeout(resolve, 10) })
}
