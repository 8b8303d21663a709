import { fork } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const REQUESTS = 100_000
const CONNECTIONS = 16
/**
 * Bytes on V8's heap that forwarding may add to what Node's server and Fastify allocate for a route that answers by itself.
 * It was 5,200 with Node 20. Closures and arrays a request add some dozens of bytes each, a stream or a few promises thousands.
 */
const BOUND = 6500

const requestTo = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n`
const answer = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 120\r\nETag: "x"\r\n\r\n${'x'.repeat(120)}`

/** Sends `total` requests over some connections, one at a time on each; fewer when the machine is too busy for them. Tells how many. */
async function ask (port: number, path: string, total: number, patience: number): Promise<number> {
  const request = requestTo(path)
  let sent = 0
  let late = false
  const timer = setTimeout(() => { late = true }, patience)
  await Promise.all(Array.from({ length: CONNECTIONS }, () => new Promise<void>((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let text = ''
    const next = (): void => {
      if (late || sent === total) return void socket.end()
      sent++
      socket.write(request)
    }
    socket.on('connect', next).on('error', reject).on('close', () => { resolve() })
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1')
      if (!text.endsWith('x'.repeat(120))) return
      if (!text.startsWith('HTTP/1.1 200 ')) return void socket.destroy(new Error(text))
      text = ''
      next()
    })
  })))
  clearTimeout(timer)
  return sent
}

t.test('what forwarding allocates beyond a route that answers by itself', async (t) => {
  t.setTimeout(250_000)
  const sockets = new Set<Socket>()
  const upstream = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', () => { socket.write(answer, 'latin1') })
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const to = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  // Not with the test runner's own loaders, which a fork inherits: one of them cannot be loaded there, and they would be measured too.
  const proxy = fork(fileURLToPath(new URL('fixtures/measured-proxy.ts', import.meta.url)), [to], {
    execArgv: [`--import=${new URL('../../../tools/strip-types.mjs', import.meta.url).href}`, '--conditions=@headgate/source'],
    env: { PATH: process.env['PATH'] }
  })
  const gone = once(proxy, 'exit').then(([code, signal]) => { throw new Error(`the proxy has ended: ${code ?? signal}`) })
  gone.catch(() => {})
  /** Its next message; fails at once where there can be none. */
  const told = async (): Promise<number> => (await Promise.race([once(proxy, 'message'), gone]) as [number])[0]
  t.teardown(() => {
    proxy.kill()
    for (const socket of sockets) socket.destroy()
    upstream.close()
  })
  const port = await told()
  const measure = async (path: string, total: number): Promise<number> => {
    // Until the code is compiled: the interpreter allocates what optimised code does not.
    await ask(port, path, total / 5, 10_000)
    proxy.send('start')
    await told()
    const requests = await ask(port, path, total, 25_000)
    proxy.send('stop')
    const allocated = await told()
    t.comment(`${path}: ${Math.round(allocated / requests)} bytes a request, over ${requests}`)
    return allocated / requests
  }
  const forwarded = await measure('/item/1', REQUESTS)
  const own = await measure('/own', REQUESTS / 4)
  t.ok(own > 1000, 'it does measure')
  t.ok(forwarded - own < BOUND, `${Math.round(forwarded - own)} bytes a request`)
})
