// Processes of a measurement: started pinned to a core, asked for what they used, and stopped by their own id.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { availableParallelism } from 'node:os'
import { find } from '../../tools/system.mjs'

export { find }
export const cores = availableParallelism()
/** The proxy has this core for itself; load and backends share another, or two where there are enough. */
export const PROXY_CORE = '0'
export const LOAD_CORE = cores >= 4 ? '1,3' : cores > 1 ? '1' : '0'
/** For two processes that share the proxy's work. */
export const WORKER_CORES = cores >= 4 ? '0,2' : '0'
const taskset = find('taskset')
const ticks = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100

export function pinned (core, command, args) {
  return taskset === undefined ? [command, args] : [taskset, ['-c', String(core), command, ...args]]
}

/** Ports that nobody has now, all different. */
export async function freePorts (count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => { server.close(resolve) })))
  return ports
}

const running = new Set()

/** Not here, or not able to do this: the target is left out with this message. */
export class Skip extends Error {}

function child (core, command, args, options) {
  const process = spawn(...pinned(core, command, args), { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  running.add(process)
  process.once('exit', () => { running.delete(process) })
  let errors = ''
  process.stderr.on('data', (data) => { errors = (errors + data).slice(-2000) })
  process.errors = () => errors
  return process
}

/** Starts a Node script, which prints its port as its first line (or exits with 3 and says why it cannot). */
export async function startNode (core, script, config = {}, nodeArgs = []) {
  const process_ = child(core, process.execPath, [...nodeArgs, script, JSON.stringify(config)])
  let text = ''
  const port = await new Promise((resolve, reject) => {
    process_.stdout.on('data', (data) => {
      text += data
      if (text.includes('\n')) resolve(Number(text.split('\n')[0]))
    })
    process_.once('error', reject)
    process_.once('exit', (code) => { reject(code === 3 ? new Skip(process_.errors().trim()) : new Error(`${script} ended with ${code}: ${process_.errors()}`)) })
  })
  return { process: process_, pid: process_.pid, port }
}

/** Starts a program that listens on `port`, and waits until it does. */
export async function startProgram (core, command, args, port) {
  const path = find(command)
  if (path === undefined) throw new Skip(`${command} is not installed (Debian package ${command})`)
  return listening(child(core, path, args), command, port)
}

/** The same for a script of ours, which is run by Node. */
export async function startOwn (core, args, port) {
  return listening(child(core, process.execPath, args), args[0], port)
}

async function listening (process_, command, port) {
  for (let tries = 0; tries < 400; tries++) {
    if (process_.exitCode !== null) throw new Error(`${command} ended with ${process_.exitCode}: ${process_.errors()}`)
    const open = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      })
      socket.on('error', () => { resolve(false) })
    })
    if (open) return { process: process_, pid: process_.pid, port }
    await new Promise((resolve) => { setTimeout(resolve, 25) })
  }
  throw new Error(`${command} does not listen on ${port}: ${process_.errors()}`)
}

export async function stop ({ process }) {
  if (process.exitCode !== null || process.signalCode !== null) return
  const gone = once(process, 'exit')
  process.kill('SIGTERM')
  const timer = setTimeout(() => { process.kill('SIGKILL') }, 3000)
  await gone
  clearTimeout(timer)
}

export async function stopAll () {
  await Promise.all([...running].map((process) => stop({ process })))
}

/**
 * Microseconds that the shortest system call and the first touch of a page of memory take, the least of many. Two machines with the same
 * processor differ by ten times in both where one is a virtual machine that the processor does not help, and every read and write of a
 * proxy pays for it.
 */
export function costsOfSystem () {
  const least = (times, once) => Math.min(...Array.from({ length: times }, once))
  const timed = (count, work) => {
    const start = performance.now()
    work()
    return (performance.now() - start) * 1000 / count
  }
  return {
    // Not kept by Node: asks the system each time.
    systemCall: least(200, () => timed(1000, () => { for (let i = 0; i < 1000; i++) void process.ppid })),
    pageFault: least(10, () => {
      const memory = Buffer.allocUnsafeSlow(32 * 1024 * 1024)
      return timed(memory.length / 4096, () => { for (let i = 0; i < memory.length; i += 4096) memory[i] = 1 })
    })
  }
}

/** Microseconds on a CPU, user and system, of all threads, and of the processes that it started. */
export function cpuOfAll (pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter((text) => text !== '')
  return children.reduce((sum, child) => sum + cpuOfAll(child), cpu(pid))
}

/** Microseconds on a CPU, user and system, of all threads. */
export function cpu (pid) {
  try {
    let total = 0
    for (const task of readdirSync(`/proc/${pid}/task`)) total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
    return total / 1000
  } catch {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 1e6 / ticks
  }
}

/** Bytes of memory that are its own now. */
export function rss (pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
}
