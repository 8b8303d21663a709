// Starts programs and ends them again, the last one first.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** A port that was free a moment ago, for programs that cannot choose one themselves. */
export async function freePort () {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((resolve) => { server.close(resolve) })
  return port
}

export async function until (holds) {
  while (!await holds()) await new Promise((resolve) => { setTimeout(resolve, 50) })
}

/** Somebody accepts connections at a port. */
export async function accepts (port) {
  await until(() => new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => { socket.destroy(); resolve(true) })
    socket.on('error', () => { resolve(false) })
  }))
}

export class Processes {
  #running = []

  /** Resolves when `line` of its output contains `ready`; at once without one. Gives the child and that line. */
  async start (command, args, { ready, env = {} } = {}) {
    // Ctrl-C is for the one that started them, which ends them in order: they are no part of its group.
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH, ...env }, detached: true })
    const ended = once(child, 'exit')
    this.#running.push(child)
    const line = await new Promise((resolve, reject) => {
      let text = ''
      child.on('error', reject)
      child.on('exit', (status) => { reject(new Error(`${command} ended with status ${status}`)) })
      if (ready === undefined) resolve('')
      child.stdout.on('data', (chunk) => {
        if (ready === undefined) return
        text += chunk
        const found = text.split('\n').slice(0, -1).find((one) => one.includes(ready))
        if (found !== undefined) resolve(found)
      })
    })
    return { child, line, ended }
  }

  /** Ends one, and waits for it. */
  async end (child, signal = 'SIGTERM') {
    this.#running = this.#running.filter((other) => other !== child)
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  async endAll () {
    for (const child of this.#running.toReversed()) await this.end(child)
  }
}
