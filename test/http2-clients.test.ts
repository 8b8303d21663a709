import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import cookie from '@fastify/cookie'
import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import compress from '@headgate/compress'
import stickySession from '@headgate/sticky-session'
import Fastify from 'fastify'
import t from 'tap'
import { find, skipWithout } from '../tools/system.mjs'

const run = promisify(execFile)
const fixture = (name: string): Buffer => readFileSync(new URL(`../packages/core/test/fixtures/${name}`, import.meta.url))
const TEXT = 'some text that repeats. '.repeat(400)

t.test('curl, nghttp and h2load over TLS, through cache, compress, sticky sessions and balancer', { skip: skipWithout('curl', 'nghttp', 'h2load') }, async (t) => {
  const asked: Record<string, number> = {}
  const origins = await Promise.all(['a', 'b'].map(async (name) => {
    const server = createServer((request, response) => {
      asked[request.url!] = (asked[request.url!] ?? 0) + 1
      response.setHeader('Content-Type', 'text/plain')
      if (request.url!.startsWith('/kept')) response.setHeader('Cache-Control', 'public, max-age=60')
      if (request.url === '/who') return void response.end(name)
      const pieces: Buffer[] = []
      request.on('data', (piece: Buffer) => { pieces.push(piece) })
      request.on('end', () => { response.end(request.method === 'POST' ? String(Buffer.concat(pieces).length) : TEXT) })
    })
    server.listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }))
  const app = Fastify({ http2: true, https: { allowHTTP1: true, key: fixture('key.pem'), cert: fixture('cert.pem') } })
  await app.register(cache as never)
  await app.register(compress as never, { load: false })
  await app.register(cookie as never)
  await app.register(balancer as never, { pools: { web: { upstreams: origins, policy: 'round-robin' } }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.register(stickySession as never, { keys: ['a secret that is long enough for a test'] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const url = `https://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const curl = async (...args: string[]): Promise<string> => (await run(find('curl')!, ['-sk', '--max-time', '20', ...args])).stdout

  for (const [flag, version] of [['--http2', '2'], ['--http1.1', '1.1']] as const) {
    const path = `${url}/kept/${version}`
    const first = await curl(flag, '-i', '--compressed', path)
    t.match(first, new RegExp(`^HTTP/${version} 200`))
    t.match(first, /content-encoding: (br|gzip|zstd)/i)
    t.match(first, /cache-status: [^\r]*fwd=/i)
    t.ok(first.endsWith(TEXT))
    for (let i = 0; i < 6; i++) {
      const again = await curl(flag, '-i', '--compressed', path)
      t.match(again, /cache-status: [^\r]*hit/i)
      t.ok(again.endsWith(TEXT))
    }
    t.equal(asked[`/kept/${version}`], 1)
    t.match(await curl(flag, '-i', path), /^(?![^]*content-encoding)[^]*$/i, 'plain for who asks for nothing else')

    const given = /set-cookie: ([^;]+)/i.exec(await curl(flag, '-i', `${url}/who`))![1]!
    const name = await curl(flag, '-H', `Cookie: ${given}`, `${url}/who`)
    for (let i = 0; i < 4; i++) t.equal(await curl(flag, '-H', `Cookie: ${given}`, `${url}/who`), name, 'its session stays')
    t.equal(await curl(flag, '--data-binary', 'x'.repeat(100_000), `${url}/post`), '100000')
  }

  // Three at once on one connection: a hit, one that is not kept, and a HEAD.
  const { stdout } = await run(find('nghttp')!, ['-nv', '--no-verify-peer', '-H', 'accept-encoding: gzip', `${url}/kept/2`, `${url}/plain`])
  t.equal(stdout.match(/recv \(stream_id=\d+\) :status: 200/g)?.length, 2)
  t.equal(stdout.match(/recv (DATA|HEADERS) frame <length=\d+, flags=0x0[15], stream_id=\d+>/g)?.filter((line) => !line.includes('flags=0x04')).length, 2, 'each stream ends')
  t.match(stdout, /content-encoding: gzip/)
  t.notMatch(stdout, /RST_STREAM/)

  const load = await run(find('h2load')!, ['-n', '2000', '-c', '10', '-m', '20', `${url}/kept/2`, `${url}/plain`])
  t.match(load.stdout, /2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout/)
  t.match(load.stdout, /status codes: 2000 2xx/)
})
