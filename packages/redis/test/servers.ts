import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { find } from '../../../tools/system.mjs'
import { freePort } from '../../stream/test/real/programs.ts'

export interface Test { teardown (action: () => unknown): void }

export { freePort }

/** Waits for a condition, looking often; says what it waited for should that take longer than any machine is busy. */
export async function until (holds: () => boolean | Promise<boolean>, what: () => string = () => String(holds)): Promise<void> {
  for (let looks = 0; !await holds(); looks++) {
    if (looks === 9000) throw new Error(`looked ${looks} times for ${what()}`)
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
}

async function accepts (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** A real redis-server on a port of its own, which may be killed and started again. */
export class RedisServer {
  readonly port: number
  readonly folder: string
  readonly #args: readonly string[]
  child: ChildProcess | undefined

  constructor (t: Test, port: number, args: readonly string[]) {
    this.port = port
    this.#args = args
    this.folder = mkdtempSync(join(tmpdir(), 'hg-redis-'))
    t.teardown(async () => {
      await this.stop()
      rmSync(this.folder, { recursive: true, force: true })
    })
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  async start (): Promise<void> {
    this.child = spawn(find('redis-server') as string | undefined ?? 'redis-server', [
      '--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.folder, ...this.#args
    ], { stdio: 'ignore', env: { PATH: process.env['PATH'] } })
    await until(() => accepts(this.port))
  }

  /** Kills it, with all that it holds. */
  async stop (): Promise<void> {
    const { child } = this
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    child.kill('SIGCONT')
    await ended
  }

  pause (): void { this.child!.kill('SIGSTOP') }
  resume (): void { this.child!.kill('SIGCONT') }
}

export async function redisServer (t: Test, ...args: string[]): Promise<RedisServer> {
  const server = new RedisServer(t, await freePort(), args)
  await server.start()
  return server
}

/**
 * A cable to a server that can be cut: `cut` stops bytes without a word, of all or of those who connect from one address; `mend` ends what hung and
 * lets new connections through.
 */
export class Cable {
  readonly port: number
  readonly #pairs: Set<readonly [Socket, Socket]> = new Set()
  #cut: string | boolean = false

  private constructor (server: Server, to: number) {
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (near) => {
      const far = connect(to, '127.0.0.1')
      const pair = [near, far] as const
      const { remoteAddress } = near
      const isCut = (): boolean => this.#cut === true || this.#cut === remoteAddress
      this.#pairs.add(pair)
      near.on('data', (bytes) => { if (!isCut()) far.write(bytes) })
      far.on('data', (bytes) => { if (!isCut()) near.write(bytes) })
      for (const [one, other] of [[near, far], [far, near]] as const) {
        one.on('error', () => {})
        one.on('close', () => {
          if (!isCut()) other.destroy()
          this.#pairs.delete(pair)
        })
      }
    })
  }

  static async lay (t: Test, to: number): Promise<Cable> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const cable = new Cable(server, to)
    t.teardown(async () => {
      cable.mend()
      const closed = once(server, 'close')
      server.close()
      await closed
    })
    return cable
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }
  cut (from?: string): void { this.#cut = from ?? true }

  mend (): void {
    this.#cut = false
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy()
  }
}

/** A real Sentinel that watches the primary at a port, under the name `main`; ended with the test. */
export async function sentinel (t: Test, primary: number): Promise<{ readonly port: number; readonly url: string }> {
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'hg-sentinel-'))
  const file = join(folder, 'sentinel.conf')
  writeFileSync(file, `port ${port}\nbind 127.0.0.1\ndir ${folder}\nsentinel monitor main 127.0.0.1 ${primary} 2\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n`)
  const child = spawn(find('redis-server') as string | undefined ?? 'redis-server', [file, '--sentinel'], { stdio: 'ignore', env: { PATH: process.env['PATH'] } })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  await until(() => accepts(port))
  return { port, url: `redis://127.0.0.1:${port}` }
}
