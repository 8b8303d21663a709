import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { StickyOptions } from '../src/index.ts'
import { cookiesOf, FakeClock, keys, origins, results, site } from './helpers.ts'

interface Slow {
  readonly url: string
  readonly app: FastifyInstance
  arrived (count: number): Promise<void>
  release (): void
}

/** Upstreams that hold their answers back until told. */
async function slow (t: Parameters<typeof origins>[0], options: StickyOptions): Promise<Slow> {
  const held: (() => void)[] = []
  let wake: () => void = () => {}
  const list = await origins(t, 'abcd', (name, _request, response) => {
    held.push(() => { response.end(name) })
    wake()
  })
  const { url, app } = await site(t, list, options)
  return {
    url,
    app,
    arrived: async (count) => { while (held.length < count) await new Promise<void>((resolve) => { wake = resolve }) },
    release: () => { for (const answer of held.splice(0)) answer() }
  }
}

t.test('parallel first requests that share a key go to one upstream; those that do not are spread', async (t) => {
  for (const together of ['source-ip', 'header:x-device', 'query:d', (request: { headers: object }) => (request.headers as Record<string, string>)['x-device']] as const) {
    const { url, arrived, release } = await slow(t, { keys, together } as StickyOptions)
    const requests = Array.from({ length: 6 }, () => fetch(`${url}/?d=7`, { headers: { 'x-device': '7' } }))
    await arrived(6)
    release()
    const homes = new Set(await Promise.all(requests.map(async (request) => (await request).text())))
    t.equal(homes.size, 1, String(together))
  }
  const { url, arrived, release } = await slow(t, { keys })
  const requests = Array.from({ length: 4 }, () => fetch(url))
  await arrived(4)
  release()
  t.equal(new Set(await Promise.all(requests.map(async (request) => (await request).text()))).size, 4, 'without an option the policy spreads them')
})

t.test('kinds with a key need no option for it', async (t) => {
  const { url, arrived, release, app } = await slow(t, { by: 'header', name: 'x-user' })
  const seen = results(t, () => app)
  const requests = Array.from({ length: 6 }, () => fetch(url, { headers: { 'x-user': 'ada' } }))
  await arrived(6)
  release()
  t.equal(new Set(await Promise.all(requests.map(async (request) => (await request).text()))).size, 1)
  t.same(seen, Array.from({ length: 6 }, () => 'new'))
})

t.test('a first request is followed for a moment after its answer, then the policy chooses again', async (t) => {
  const clock = new FakeClock()
  const { url, arrived, release } = await slow(t, { keys, clock, together: 'source-ip' })
  const ask = async (): Promise<[string, string | undefined]> => {
    const request = fetch(url)
    await arrived(1)
    release()
    const response = await request
    return [await response.text(), cookiesOf(response)[0]]
  }
  const [home] = await ask()
  clock.advance(1500)
  const [follower, cookie] = await ask()
  t.equal(follower, home)
  t.ok(cookie, 'with a cookie of its own')
  clock.advance(1500)
  t.not((await ask())[0], home)
})
