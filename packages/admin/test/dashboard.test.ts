import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import compress from '@headgate/compress'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { upstream } from '../../balancer/test/helpers.ts'
import metrics from '@headgate/metrics'
import admin from '../src/index.ts'
import { FakeClock } from '../../core/test/clock.ts'
import { launch, open, serve, violations } from './browser.ts'

// A browser on a busy machine takes its time.
t.setTimeout(300_000)

/** A whole day more instead of half an hour, for those who have minutes: `HEADGATE_DAY=1`. */
const DAY = process.env['HEADGATE_DAY'] === '1'

t.test('dashboard', { skip: skipWithout('chromium') }, async (t) => {
  const browser = await launch(t)

  await t.test('an upstream is killed and seen to be out, with the reason; another is drained; requests go on', async (t) => {
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => upstream(t, (_, response) => response.end(name))))
    const { app, url } = await serve(t, {
      pools: { web: { upstreams: [{ url: a!.url, id: 'a' }, { url: b!.url, id: 'b' }, { url: c!.url, id: 'c' }], policy: 'round-robin', panicThreshold: 0 } },
      routes: [{ prefix: '/', pool: 'web' }]
    })
    const { page, complaints } = await open(t, browser, url)
    const row = (address: string) => page.locator('.row', { hasText: address })
    const get = async () => (await fetch(`${url}/`)).text()
    await page.getByText('All well: 3 upstreams').waitFor()
    for (let i = 0; i < 6; i++) t.ok(await get())

    await a!.stop()
    for (let i = 0; i < 12; i++) t.match(await get(), /[bc]/, 'no client notices')
    await row(a!.url).locator('.badge.ejected').waitFor()
    await row(a!.url).locator('.why').filter({ hasText: /connect-refused|failure/ }).waitFor()
    await page.getByText('1 of 3 upstreams is out').waitFor()
    const colour = await page.evaluate('getComputedStyle(document.querySelector(".badge.ejected")).color')
    t.equal(colour, 'rgb(192, 38, 45)', 'it is red')
    await page.locator('#log').filter({ hasText: /up → ejected/ }).waitFor()

    await row(b!.url).getByRole('button', { name: `Actions for ${b!.url}` }).click()
    await page.getByRole('menuitem', { name: 'Drain' }).click()
    const dialog = page.locator('#confirm')
    await dialog.filter({ hasText: /operator: auto → drain/ }).waitFor()
    await dialog.getByRole('button', { name: 'Drain' }).click()
    await row(b!.url).locator('.badge.draining').waitFor()
    t.equal(app.balancer.pool('web').get('b')!.health.state, 'draining')
    for (let i = 0; i < 6; i++) t.equal(await get(), 'c')

    // The keyboard alone brings it back.
    await row(b!.url).getByRole('button', { name: /^Actions/ }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('menuitem', { name: 'Details' }).waitFor()
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Enter')
    await dialog.getByRole('button', { name: 'Back to automatic' }).press('Enter')
    await row(b!.url).locator('.badge.up').waitFor()

    await row(c!.url).getByRole('button', { name: c!.url, exact: true }).click()
    await page.locator('#detail').getByText('What happened to it').waitFor()
    t.same(await violations(page), [], 'axe on the details')
    await page.keyboard.press('Escape')
    await page.locator('#detail').waitFor({ state: 'hidden' })
    t.same(complaints, [])
  })

  await t.test('a change that somebody else overtook is shown anew', async (t) => {
    const a = await upstream(t, (_, response) => response.end('a'))
    const { app, url } = await serve(t, { pools: { web: [{ url: a.url, id: 'a' }] }, routes: [{ prefix: '/', pool: 'web' }] })
    const { page } = await open(t, browser, url)
    await page.getByRole('button', { name: /^Actions/ }).click()
    await page.getByRole('menuitem', { name: 'Set weight' }).click()
    await page.getByRole('spinbutton').fill('5')
    await page.getByRole('button', { name: 'Continue' }).click()
    const dialog = page.locator('#confirm')
    await dialog.getByText('weight: 1 → 5').waitFor()
    app.balancer.pool('web').setWeight('a', 3)
    await dialog.getByRole('button', { name: 'Set weight' }).click()
    await dialog.getByText('Somebody changed something meanwhile').waitFor()
    await dialog.getByText('weight: 3 → 5').waitFor()
    await dialog.getByRole('button', { name: 'Set weight' }).click()
    await dialog.waitFor({ state: 'hidden' })
    t.equal(app.balancer.pool('web').get('a')!.configuredWeight, 5)
  })

  await t.test('shares of a split are changed, a route is closed and opened', async (t) => {
    const [a, b] = await Promise.all(['a', 'b'].map((name) => upstream(t, (_, response) => response.end(name))))
    const { app, url } = await serve(t, {
      pools: { stable: [a!.url], canary: [b!.url] },
      routes: [{ prefix: '/', rules: [{ name: 'release', splitOn: 'random', pool: { stable: 95, canary: 5 } }] }, { prefix: '/shop', pool: 'stable' }]
    })
    const { page, complaints } = await open(t, browser, url)
    const dialog = page.locator('#confirm')
    const card = page.locator('.routed', { hasText: 'release' })
    await card.filter({ hasText: 'stable 95.0 % · canary 5.0 %' }).waitFor()
    await page.getByRole('button', { name: 'Shares of split release' }).click()
    await page.getByLabel('Weight of pool stable').fill('0')
    await page.getByLabel('Weight of pool canary').fill('1')
    await page.getByRole('button', { name: 'Continue' }).click()
    await dialog.getByText('release: canary share: 5 → 1').waitFor()
    await dialog.getByRole('button', { name: 'Set shares' }).click()
    await card.filter({ hasText: 'canary 100 %' }).waitFor()
    t.equal(await (await fetch(`${url}/`)).text(), 'b')

    await page.getByRole('button', { name: 'Close route /shop' }).click()
    await dialog.getByText('/shop maintenance: no → yes').waitFor()
    await dialog.getByRole('button', { name: 'Close', exact: true }).click()
    await page.locator('.routed', { hasText: '/shop' }).filter({ hasText: 'closed' }).waitFor()
    await page.getByText('/shop closed for maintenance', { exact: true }).waitFor()
    t.equal((await fetch(`${url}/shop`)).status, 503)
    t.same(await violations(page), [], 'axe')
    app.balancer.maintenance.end('/shop')
    await page.getByRole('button', { name: 'Close route /shop' }).waitFor()
    t.same(complaints, [])
  })

  await t.test('hostile names are text', async (t) => {
    const hostile = '<img src=x onerror="window.pwned=1">"\'&</script>'
    const { app, url } = await serve(t, {
      pools: { [hostile]: { upstreams: [{ url: 'http://127.0.0.1:1', id: 'a', zone: hostile }] } }
    }, { unsafe: true, actor: () => hostile }, false)
    const pool = app.balancer.pool(hostile)
    const { page, complaints } = await open(t, browser, url)
    pool.get('a')!.health.force('maintenance', hostile)
    await page.locator('.badge.maintenance').first().waitFor()
    await page.locator('.name').first().click()
    await page.locator('#detail').getByText('What happened to it').waitFor()
    t.equal(await page.evaluate('window.pwned'), undefined)
    t.equal(await page.locator('img').count(), 1, 'the logo alone')
    await page.locator('.sub').first().filter({ hasText: hostile }).waitFor()
    await page.locator('#log').filter({ hasText: hostile }).waitFor()
    t.same(complaints, [])
  })

  await t.test('thousands of upstreams: few rows exist; search and states filter', async (t) => {
    const specs = Array.from({ length: 3000 }, (_, i) => ({ url: `http://127.0.0.1:${10_000 + i}`, id: `u${i}`, zone: `z${i % 7}` }))
    const { app, url } = await serve(t, { pools: { web: specs } }, { unsafe: true }, false)
    const { page } = await open(t, browser, url)
    await page.locator('#shown', { hasText: '3000 upstreams' }).waitFor()
    t.ok(await page.locator('.row').count() < 60, 'only those that can be seen')
    await page.evaluate('document.getElementById("rows").scrollTop = 54 * 2990')
    await page.locator('.row[aria-rowindex="2999"]').waitFor()
    t.ok(await page.locator('.row').count() < 60)
    await page.getByRole('searchbox').fill(':12345')
    await page.locator('#shown', { hasText: '1 of 3000 upstreams' }).waitFor()
    await page.getByRole('searchbox').fill('')
    app.balancer.pool('web').get('u77')!.health.force('maintenance', 'new disk')
    await page.locator('.chip.maintenance').waitFor()
    await page.locator('.row').first().filter({ hasText: /new disk/ }).waitFor()
    await page.locator('.chip.up').click()
    await page.locator('#shown', { hasText: '1 of 3000 upstreams' }).waitFor()
  })

  await t.test('it comes back after the server was away, and holds no more than before', async (t) => {
    const { app, url } = await serve(t, { pools: { web: ['http://127.0.0.1:1'] } }, { unsafe: true }, false)
    const { page } = await open(t, browser, url)
    await page.getByText('All well: 1 upstream').waitFor()
    const { port } = new URL(url)
    await app.close()
    await page.getByText('Connection lost').waitFor()
    const again = Fastify({ forceCloseConnections: true }) as FastifyInstance
    t.teardown(() => again.close())
    await again.register(admin, { unsafe: true })
    await again.register(balancer, { pools: { web: ['http://127.0.0.1:1', 'http://127.0.0.1:2'] } })
    await again.listen({ port: Number(port), host: '127.0.0.1' })
    await page.getByText('All well: 2 upstreams').waitFor()
    t.equal(await page.locator('.row:not([hidden])').count(), 2)
  })

  await t.test('left open, with upstreams that come, fail and go, it holds no more than after fifteen minutes', async (t) => {
    const clock = new FakeClock()
    const { app, url } = await serve(t, { pools: { web: ['http://127.0.0.1:1', 'http://127.0.0.1:2'] } }, { unsafe: true, clock }, false)
    const pool = app.balancer.pool('web')
    const { page, complaints } = await open(t, browser, url)
    const debug = await page.context().newCDPSession(page)
    let minutes = 0
    /** One message for each second, as the page gets them; it has to keep up, or it would be cut off and begin anew. */
    const pass = async (more: number): Promise<void> => {
      for (const end = minutes + more; minutes < end; minutes++) {
        const added = pool.add({ url: `http://127.0.0.1:${3 + minutes}`, id: `m${minutes}` })
        clock.advance(20_000)
        added.health.eject('it failed')
        clock.advance(20_000)
        await pool.remove(added.id)
        clock.advance(20_000)
        if (minutes % 5 === 0) await page.locator('#log .event').first().filter({ hasText: added.url }).waitFor()
      }
    }
    const held = async (): Promise<{ heap: number; nodes: number; listeners: number }> => {
      await debug.send('HeapProfiler.enable')
      for (let i = 0; i < 3; i++) await debug.send('HeapProfiler.collectGarbage')
      const { usedSize } = await debug.send('Runtime.getHeapUsage')
      const { nodes, jsEventListeners } = await debug.send('Memory.getDOMCounters')
      return { heap: usedSize, nodes, listeners: jsEventListeners }
    }
    // The plots are full then, and so is what is shown of the log.
    await pass(40)
    const before = await held()
    await pass(DAY ? 24 * 60 : 30)
    const after = await held()
    t.comment(`after forty minutes ${JSON.stringify(before)}, at the end ${JSON.stringify(after)}`)
    t.ok(after.heap < before.heap + 1_000_000, `heap: ${before.heap} → ${after.heap} bytes`)
    t.ok(after.nodes < before.nodes + 100, `nodes: ${before.nodes} → ${after.nodes}`)
    t.ok(after.listeners < before.listeners + 20, `listeners: ${before.listeners} → ${after.listeners}`)
    t.same(complaints, [])
  })

  await t.test('a pool says how many upstreams it should have', async (t) => {
    const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
    t.teardown(() => app.close())
    await app.register(metrics, { route: false, scaling: { min: 3, pools: { calm: { min: 1, max: 1 } } } })
    await app.register(admin, { unsafe: true })
    await app.register(balancer, { pools: { web: ['http://127.0.0.1:1'], calm: ['http://127.0.0.1:2'] } })
    const { page, complaints } = await open(t, browser, await app.listen({ port: 0, host: '127.0.0.1' }))
    const card = (name: string) => page.locator('.pool', { hasText: name })
    await card('web').getByText('3 upstreams advised: 2 more').waitFor()
    await card('calm').getByText('as many upstreams as are needed').waitFor()
    t.same(await violations(page), [])
    t.same(complaints, [])
  })

  await t.test('what cache and compression save is seen, and the cache is purged', async (t) => {
    let asked = 0
    const origin = await upstream(t, (_, response) => {
      asked++
      response.setHeader('content-type', 'text/plain').setHeader('cache-control', 'max-age=600').end('text '.repeat(2000))
    })
    const app = Fastify({ forceCloseConnections: true }) as FastifyInstance
    t.teardown(() => app.close())
    await app.register(cache, {})
    await app.register(compress, {})
    await app.register(admin, { unsafe: true })
    await app.register(balancer, { pools: { web: [origin.url] }, routes: [{ prefix: '/site', pool: 'web', config: {} }] })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    const { page, complaints } = await open(t, browser, url)
    for (let i = 0; i < 2; i++) t.equal((await (await fetch(`${url}/site`)).text()).length, 10_000)
    t.equal(asked, 1)
    const tile = (label: string) => page.locator('.tile', { hasText: label })
    await tile('Cache hits').getByText(/^9\.8 KiB served$/).waitFor()
    await tile('Cache hits').locator('.value').filter({ hasText: /^[1-9]/ }).waitFor()
    await tile('Compression').locator('.value').filter({ hasText: /^−\d/ }).waitFor()
    await tile('Compression').locator('.note').filter({ hasText: /saved$/ }).waitFor()
    await page.getByRole('button', { name: 'Purge cache' }).click()
    await page.getByRole('textbox', { name: /^Tags or absolute URLs/ }).fill('*')
    await page.getByRole('button', { name: 'Purge', exact: true }).click()
    await page.getByText(/^\d+ responses? purged$/).waitFor()
    await (await fetch(`${url}/site`)).text()
    t.equal(asked, 2)
    t.same(complaints, [])
  })
})
