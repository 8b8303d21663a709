// npm start: sets up what is missing, then runs three small upstreams, Headgate in front of them and some load until Ctrl-C.
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { build, install, root } from './setup.mjs'

const NAMES = ['alpha', 'beta', 'gamma']
const STOP_DEADLINE = 10_000
/** Milliseconds after which an upstream that was killed is started again. */
const RESTART = 3000
const port = process.env.PORT ?? '8080'
const children = new Set()
let stopping = false

async function stop (status) {
  if (stopping) return
  stopping = true
  setTimeout(() => { for (const child of children) child.kill('SIGKILL') }, STOP_DEADLINE).unref()
  // In the order of dependence, last started first: nobody sends to what has gone.
  for (const child of [...children].reverse()) {
    const gone = new Promise((resolve) => { child.once('exit', resolve) })
    child.kill('SIGTERM')
    await gone
  }
  process.exit(status)
}

/** Starts an upstream, and again on the same port whenever it ends. */
async function keep (name, port = 0) {
  const started = await start(name, 'upstream.mjs', [name, String(port)])
  started.child.once('exit', () => {
    if (!stopping) setTimeout(() => void again(name, started.port), RESTART)
  })
  return started
}

async function again (name, port) {
  if (stopping) return
  try {
    const { child } = await keep(name, port)
    console.log(`${name} runs again (pid ${child.pid}).`)
  } catch (error) {
    if (!stopping) console.error(`headgate: ${error.message}`)
  }
}

/** Starts a script of the demo and waits for its message. */
function start (name, script, args) {
  const child = fork(join(root, 'tools', 'demo', script), args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  children.add(child)
  return new Promise((resolve, reject) => {
    child.once('message', (message) => message.error === undefined ? resolve({ ...message, child }) : reject(new Error(message.error)))
    child.once('exit', (code, signal) => {
      children.delete(child)
      if (!stopping) console.log(`\n${name} (pid ${child.pid}) has ended${signal ? ` by ${signal}` : ''}.`)
      reject(new Error(`${name} ended with ${signal ?? `status ${code}`} while it started`))
    })
  })
}

process.on('SIGINT', () => void stop(0))
process.on('SIGTERM', () => void stop(0))

try {
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`PORT must be a port number; it is '${port}'`)
  install()
  build()
  const upstreams = await Promise.all(NAMES.map(async (name) => ({ name, ...await keep(name) })))
  const proxy = await start('headgate', 'headgate.mjs', [port, ...upstreams.map(({ name, port }) => `${name}=http://127.0.0.1:${port}`)])
  proxy.child.once('exit', () => void stop(1))
  await start('load', 'load.mjs', [`http://127.0.0.1:${proxy.port}`])
  proxy.child.on('message', ({ state }) => state !== undefined && console.log(state))
  const url = `http://127.0.0.1:${proxy.port}`
  const [first] = upstreams
  console.log(`
Headgate listens on ${url} in front of
${upstreams.map(({ name, port, child }) => `  ${name.padEnd(6)} http://127.0.0.1:${port}  pid ${child.pid}`).join('\n')}

The dashboard, with some visitors to look at: ${url}/headgate/
  Take an upstream out there (⋯, Maintenance), or kill one as below, and see what happens and why

Try, in another terminal:

  One request; the answer names the upstream that gave it
    curl ${url}/hello

  How 30 requests spread
    for i in $(seq 30); do curl -s ${url}/; done | grep -o '"upstream":"[a-z]*"' | sort | uniq -c

  Kill an upstream while 100 requests run: not one fails. It is started again after ${RESTART / 1000} s, and gets its share as soon as
  it passes its checks; what Headgate makes of it is told here
    kill -9 ${first.child.pid}; for i in $(seq 100); do curl -s -o /dev/null -w '%{http_code}\\n' ${url}/; sleep 0.1; done | sort | uniq -c

  What it knows of each upstream, with reasons and history; and all its metrics, for Prometheus
    curl ${url}/health/upstreams
    curl ${url}/metrics

  Give ${NAMES[2]} three times the work, then send the 30 again
    curl -X POST '${url}/demo/weight?id=${NAMES[2]}&weight=3'

Ctrl-C stops all of it.
`)
} catch (error) {
  if (!stopping) {
    const hint = /EADDRINUSE/.test(error.message) ? '; PORT=8081 npm start uses another port' : ''
    console.error(`headgate: ${error.message}${hint}`)
    await stop(1)
  }
}
