import { type ChildProcess, execFileSync } from 'node:child_process'
import { appendFileSync, chmodSync, chownSync, copyFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from '../helpers.ts'
import { accepts, folder, freePort, start } from './programs.ts'

export interface Running {
  readonly port: number
  readonly child: ChildProcess
}

/** A Redis without persistence; ended with the test. */
export async function redis (t: Test, ...args: string[]): Promise<Running> {
  const port = await freePort()
  const child = start(t, 'redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder(t), ...args])
  await accepts(port)
  return { port, child }
}

const versions = '/usr/lib/postgresql'
const bin = (name: string): string => join(versions, readdirSync(versions).sort((a, b) => Number(a) - Number(b)).at(-1)!, 'bin', name)

/** PostgreSQL refuses to run as root: its own user does. */
function owner (): { uid: number; gid: number } | Record<string, never> {
  if (process.getuid!() !== 0) return {}
  return { uid: Number(execFileSync('id', ['-u', 'postgres'])), gid: Number(execFileSync('id', ['-g', 'postgres'])) }
}

/** A PostgreSQL of its own, with TLS, that trusts everybody on loopback; ended with the test. */
export async function postgres (t: Test): Promise<Running> {
  const who = owner()
  const home = folder(t)
  if ('uid' in who) chownSync(home, who.uid!, who.gid!)
  const data = join(home, 'data')
  execFileSync(bin('initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '--no-instructions'], { ...who, stdio: 'ignore', cwd: home })
  for (const [name, mode] of [['key.pem', 0o600], ['cert.pem', 0o644]] as const) {
    const to = join(data, name)
    copyFileSync(fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)), to)
    if ('uid' in who) chownSync(to, who.uid!, who.gid!)
    chmodSync(to, mode)
  }
  const port = await freePort()
  appendFileSync(join(data, 'postgresql.conf'), `\nlisten_addresses = '127.0.0.1'\nport = ${port}\nunix_socket_directories = '${home}'\nfsync = off\nssl = on\nssl_cert_file = 'cert.pem'\nssl_key_file = 'key.pem'\n`)
  const child = start(t, bin('postgres'), ['-D', data], { ...who, cwd: home })
  await accepts(port)
  return { port, child }
}
