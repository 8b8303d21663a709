import type { ExplainView } from '@headgate/admin/model'
import { api } from './api.ts'
import { at, fill, h } from './dom.ts'
import * as format from './format.ts'
import { badge } from './states.ts'

const CHOICES: Readonly<Record<string, string>> = {
  policy: 'the policy chooses', alternative: 'the first choice is full or was tried', affinity: 'the client belongs there',
  trial: 'an ejected upstream is due for a trial request', 'last-resort': 'nobody is ready, and the pool tries anybody',
  'none-ready': 'nobody is ready', saturated: 'everybody who is ready is full: the request would wait'
}

/** The form that asks where a request would go, and the answer. */
export function listenForQuestions (): void {
  at('explain').addEventListener('click', () => {
    at('explanation').showModal()
    at('explain-url').select()
  })
  at('explain-form').addEventListener('submit', (event) => {
    event.preventDefault()
    const header = at('explain-headers').value.trim()
    api.explain(at('explain-method').value, at('explain-url').value, header === '' ? [] : [header])
      .then(show, (error: Error) => { fill(at('explain-result'), h('p', { class: 'warning', role: 'alert' }, error.message)) })
  })
}

function show ({ route, target, pools }: ExplainView): void {
  if (route === null) return fill(at('explain-result'), h('p', {}, 'No route of the balancer takes it. The app itself may.'))
  fill(at('explain-result'),
    h('p', {}, 'Route ', h('code', {}, route), ', sent as ', h('code', {}, target), '. Nothing was sent.'),
    pools.length === 0 ? h('p', { class: 'warning' }, 'No rule of the route matches: it would be answered 503.') : null,
    ...pools.map(({ pool, policy, choice, upstream, candidates }, i) => h('div', {},
      h('h3', {}, `${i === 0 ? '' : 'If nobody there can take it: '}pool ${pool}`, h('small', { class: 'policy' }, ` ${policy}: ${CHOICES[choice] ?? choice}`)),
      h('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': `Upstreams of ${pool}` }, h('table', { class: 'candidates' },
        h('thead', {}, h('tr', {}, ...['Upstream', 'State', 'Would get it', 'Weight', 'In flight', 'Latency', 'Why not'].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, ...candidates.toSorted((a, b) => b.share - a.share).map((candidate) => h('tr', { class: candidate.id === upstream ? 'chosen' : false },
          h('td', {}, candidate.url), h('td', {}, badge(candidate.state)), h('td', {}, format.percent(candidate.share)),
          h('td', {}, format.count(candidate.weight)), h('td', {}, format.count(candidate.inFlight)),
          h('td', {}, candidate.latency === 0 ? '–' : format.latency(candidate.latency)), h('td', {}, candidate.skipped)))))))))
}
