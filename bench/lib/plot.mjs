// Horizontal bars as SVG: one group a case, one bar a target, whiskers from the lowest to the highest round.
import { median } from './rounds.mjs'

const ROW = 22
const LEFT = 190
const WIDTH = 760
const escape = (text) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

export function plot (title, unit, groups) {
  const rows = []
  let y = 52
  for (const [group, bars] of Object.entries(groups)) {
    const highest = Math.max(...Object.values(bars).flat())
    const x = (value) => LEFT + value / highest * (WIDTH - LEFT - 90)
    if (group !== '') {
      rows.push(`<text x="16" y="${y + 14}" font-weight="600">${escape(group)}</text>`)
      y += ROW
    }
    for (const [name, values] of Object.entries(bars)) {
      const value = median(values)
      const [low, high] = [Math.min(...values), Math.max(...values)]
      const fill = name.startsWith('headgate') ? '#0b7285' : '#a5b8c0'
      rows.push(`<text x="${LEFT - 10}" y="${y + 15}" text-anchor="end">${escape(name)}</text>` +
        `<rect x="${LEFT}" y="${y + 3}" width="${Math.max(1, x(value) - LEFT).toFixed(1)}" height="16" rx="2" fill="${fill}"/>` +
        `<path d="M${x(low).toFixed(1)} ${y + 11}H${x(high).toFixed(1)}M${x(low).toFixed(1)} ${y + 7}v8M${x(high).toFixed(1)} ${y + 7}v8" stroke="#333" fill="none"/>` +
        `<text x="${(x(high) + 6).toFixed(1)}" y="${y + 15}">${value >= 100 ? value.toFixed(0) : value.toFixed(1)}</text>`)
      y += ROW
    }
    y += 8
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 8}" font-family="system-ui, sans-serif" font-size="13" role="img">
<title>${escape(title)}</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="24" font-size="15" font-weight="600">${escape(title)}</text>
<text x="16" y="42" fill="#666">${escape(unit)}; less is better</text>
${rows.join('\n')}
</svg>
`
}
