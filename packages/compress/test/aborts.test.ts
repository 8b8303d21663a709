import { request } from 'node:http'
import { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { listen, text } from './helpers.ts'

t.setTimeout(600_000)

t.test('10,000 clients that go away leave no handle and no memory behind', async (t) => {
  const sources = new Set<Readable>()
  const piece = text(20_000)
  const { url, app } = await listen(t, { encodings: ['gzip', 'br'] }, (app) => {
    app.get('/', (_request, reply) => {
      const source = new Readable({ read () { setImmediate(() => { if (!this.destroyed) this.push(piece) }) } })
      sources.add(source)
      source.on('close', () => sources.delete(source))
      return reply.type('text/html').send(source)
    })
  })
  const { port } = new URL(url)
  const abort = (index: number): Promise<void> => new Promise((resolve) => {
    const client = request({ port, host: '127.0.0.1', agent: false, headers: { 'accept-encoding': index % 2 === 0 ? 'gzip' : 'br' } }, (response) => {
      response.on('error', () => {})
      // Before the first byte, with it, or after it.
      if (index % 3 === 0) response.destroy()
      else response.once('data', () => { response.destroy() })
    })
    client.on('error', () => {}).on('close', resolve).end()
    if (index % 5 === 0) client.on('socket', (socket) => socket.once('connect', () => setImmediate(() => { client.destroy() })))
  })
  const connections = (): Promise<number> => new Promise((resolve, reject) => {
    app.server.getConnections((error, count) => { if (error === null) resolve(count); else reject(error) })
  })
  const round = async (from: number, to: number): Promise<void> => {
    for (let index = from; index < to; index += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => abort(index + i)))
    while (sources.size > 0 || await connections() > 0) await turn()
  }
  const handles = (): number => process.getActiveResourcesInfo().filter((name) => !/Timeout|Immediate/.test(name)).length
  const memory = (): number => {
    globalThis.gc?.()
    return process.memoryUsage().rss
  }
  await round(0, 2000)
  const [handlesBefore, memoryBefore] = [handles(), memory()]
  await round(2000, 10_000)
  t.ok(handles() <= handlesBefore + 2, `handles: ${handlesBefore}, then ${handles()}`)
  // A gzip state has 268 KiB and a brotli state more: 8,000 leaked ones would be gigabytes.
  t.ok(memory() - memoryBefore < 200_000_000, `memory: ${memoryBefore}, then ${memory()}`)
})
