import { accessSync, constants } from 'node:fs'
import { delimiter, isAbsolute, join, sep } from 'node:path'
import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process'

/** The absolute path of a program, looked up in PATH as a shell would; `undefined` when it is not there. */
export function findProgram (name: string): string | undefined {
  const extensions = process.platform === 'win32' ? ['.exe', '.cmd', ''] : ['']
  const folders = isAbsolute(name) || name.includes(sep) ? [''] : (process.env['PATH'] ?? '').split(delimiter)
  for (const folder of folders) {
    for (const extension of extensions) {
      const path = join(folder, name) + extension
      try {
        accessSync(path, constants.X_OK)
        return path
      } catch {}
    }
  }
  return undefined
}

/** How a program ended, with the start of what it printed. */
export interface Ended {
  readonly status: number | null
  readonly killedBy: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Bytes of each output that are kept; the rest is read and thrown away, so that the program is not held up. */
const KEPT = 4096

/** Runs a program without a shell until it ends or `signal` ends it, its children included. */
export function runProgram (path: string, args: readonly string[], env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Ended> {
  return new Promise((resolve, reject) => {
    // A process group of its own, so that what it started ends with it.
    const options: SpawnOptions = { env, detached: process.platform !== 'win32', stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true }
    const child: ChildProcess = spawn(path, args, options)
    let stdout = ''
    let stderr = ''
    child.stdout!.setEncoding('latin1').on('data', (chunk: string) => { stdout += chunk.slice(0, KEPT - stdout.length) })
    child.stderr!.setEncoding('latin1').on('data', (chunk: string) => { stderr += chunk.slice(0, KEPT - stderr.length) })
    child.on('error', reject)
    child.on('close', (status, killedBy) => { resolve({ status, killedBy, stdout, stderr }) })
    signal.addEventListener('abort', () => {
      child.stdout!.destroy()
      child.stderr!.destroy()
      kill(child)
    }, { once: true })
  })
}

function kill (child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    if (process.platform === 'win32') child.kill('SIGKILL')
    else process.kill(-child.pid, 'SIGKILL')
  } catch {
    // It ended meanwhile.
  }
}
