import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { fileURLToPath } from 'node:url'
import { median } from '../lib/rounds.mjs'
import { PROXY_CORE, freePorts, pinned } from '../lib/system.mjs'

const cli = fileURLToPath(new URL('../../packages/headgate/dist/cli.js', import.meta.url))
const hello = fileURLToPath(new URL('../targets/hello.mjs', import.meta.url))

const answered = (port) => new Promise((resolve) => {
  const ask = request({ port, host: '127.0.0.1', path: '/small', agent: false }, (response) => {
    response.resume()
    resolve(response.statusCode)
  })
  ask.on('error', () => { resolve(0) })
  ask.end()
})

/** Milliseconds from the start of the process to its first answer. */
async function time (args, port) {
  const begin = performance.now()
  const child = spawn(...pinned(PROXY_CORE, process.execPath, args), { stdio: 'ignore' })
  while (await answered(port) !== 200) {
    if (child.exitCode !== null) throw new Error(`${args.join(' ')} ended with ${child.exitCode}`)
    await new Promise((resolve) => { setTimeout(resolve, 3) })
  }
  const ms = performance.now() - begin
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
  return ms
}

export default {
  order: 120,
  name: 'start-up',
  title: 'From start to the first answer',
  text: '`headgate serve` before one upstream, beside a bare Fastify app with one route; milliseconds from the start of the process, which has one core. ' +
    'What is left of the difference is, about half and half, Node\'s loading of Headgate\'s modules (some twenty files, one for each package and a few of the command) with what they need of Node itself, ' +
    'and its work: options checked by validators that are compiled first, the app of the proxy and its servers. The logger, which the bare app does without, is 10 to 30 ms of it.',
  async run ({ rounds, startBackends }) {
    const [backend] = (await startBackends(1)).ports
    const bare = []
    const served = []
    for (let round = 0; round < rounds; round++) {
      const [one, two] = await freePorts(2)
      bare.push(await time([hello, String(one)], one))
      served.push(await time([cli, 'serve', '--listen', `127.0.0.1:${two}`, '--upstream', `http://127.0.0.1:${backend}`, '--log-level', 'error'], two))
    }
    const more = median(served.map((ms, i) => ms - bare[i]))
    return {
      columns: ['', 'ms'],
      rows: [['bare Fastify', median(bare)], ['headgate serve', median(served)]],
      checks: [{ text: 'headgate serve ≤ 400 ms more than bare Fastify', value: more, met: more <= 400 }]
    }
  }
}
