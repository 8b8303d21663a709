import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { script, serve } from '../processes.ts'
import { turn } from './sockets.ts'

/** One GET over an agent's connection. */
function ask (url: string, agent: Agent, path = '/'): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    get(url + path, { agent }, (response) => {
      let text = ''
      response.setEncoding('latin1').on('data', (chunk: string) => { text += chunk }).on('end', () => { resolve({ status: response.statusCode!, text }) }).on('error', reject)
    }).on('error', reject)
  })
}

t.test('kill -9 and restart of one of three under steady load: no request fails', async (t) => {
  const upstreams = await Promise.all([1, 2, 3].map(() => script(t, 'upstream.mjs')))
  // Round robin goes on choosing the dead one: each request that it gets must be saved.
  const { url } = await serve(t, ...upstreams.flatMap(({ port }) => ['--upstream', `http://127.0.0.1:${port}`]), '--policy', 'round-robin', '--no-passive')
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  t.teardown(() => agent.destroy())
  const seen: Record<string, number> = {}
  const failures: string[] = []
  let stop = false
  let asked = 0
  const load = Array.from({ length: 16 }, async () => {
    while (!stop) {
      asked++
      try {
        const { status, text } = await ask(url, agent, '/late?ms=2')
        if (status === 200) seen[text] = (seen[text] ?? 0) + 1
        else failures.push(`${status} ${text}`)
      } catch (error) {
        failures.push((error as Error).message)
      }
    }
  })
  const [first] = upstreams
  const reach = async (count: number): Promise<void> => { while (asked < count) await turn() }
  await reach(300)
  for (let round = 0; round < 3; round++) {
    first!.child.kill('SIGKILL')
    await once(first!.child, 'close')
    await reach(asked + 400)
    const again = await script(t, 'upstream.mjs', String(first!.port))
    first!.child = again.child
    await reach(asked + 400)
  }
  stop = true
  await Promise.all(load)
  t.same(failures, [], `of ${asked}`)
  t.ok((seen[String(first!.child.pid)] ?? 0) > 0, 'the restarted one serves again')
  t.equal(Object.keys(seen).length >= 4, true)
})

t.test('SIGTERM under load: what was accepted is answered whole, the rest is refused in order, and the command ends by itself', async (t) => {
  const upstreams = await Promise.all([1, 2].map(() => script(t, 'upstream.mjs')))
  const { url, child, ended } = await serve(t, ...upstreams.flatMap(({ port }) => ['--upstream', `http://127.0.0.1:${port}`]))
  let stop = false
  const bad: string[] = []
  let good = 0
  const load = Array.from({ length: 20 }, async () => {
    while (!stop) {
      // A connection for each request: whether it is accepted is then known.
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      let text = ''
      const outcome = await new Promise<string>((resolve) => {
        socket.on('connect', () => { socket.write('GET /late?ms=20 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n') })
        socket.on('data', (data: Buffer) => { text += data.toString() })
        socket.on('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? 'error') })
        socket.on('close', () => { resolve('closed') })
      })
      if (/^HTTP\/1\.1 200 [^]*\r\n\r\n(?:\d+|[\da-f]+\r\n\d+\r\n0\r\n\r\n)$/.test(text)) good++
      // After the listening socket is closed: refused, or reset from the backlog before a byte was read.
      else if (text !== '' || !(outcome === 'ECONNREFUSED' || outcome === 'ECONNRESET')) bad.push(`${outcome} ${JSON.stringify(text)}`)
      if (outcome === 'ECONNREFUSED') return
    }
  })
  while (good < 200) await turn()
  child.kill('SIGTERM')
  const result = await ended
  stop = true
  await Promise.all(load)
  t.same(bad, [], `of ${good}`)
  t.same(result, { status: 0, signal: null })
})
