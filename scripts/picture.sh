#!/usr/bin/env bash
# Draws a picture (SVG) from a text of boxes and arrows; docs/overview.txt says how.
#   scripts/picture.sh TEXT > SVG
set -euo pipefail
awk '
    function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }
    function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); return s }
    BEGIN { stroke["blue"] = "#2f81f7"; stroke["green"] = "#2da44e"; stroke["grey"] = "#6e7781" }
    /^#/ || /^[ \t]*$/ { next }
    {
        parts = split($0, field, "|")
        split(field[1], n, " ")
    }
    n[1] == "size" {
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n", n[2], n[3]
        print "<title>Tasks of an overlord and of kubectl become PeonTasks, which run in pods or in warm Indexers</title>"
        print "<defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#6e7781\"/></marker></defs>"
        next
    }
    n[1] == "box" {
        if (!(n[6] in stroke)) { print "line " NR ": no color " n[6] > "/dev/stderr"; exit 1 }
        printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", n[2], n[3], n[4], n[5], stroke[n[6]]
        printf "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" font-weight=\"bold\" fill=\"%s\">%s</text>\n", n[2] + n[4] / 2, n[3] + n[5] / 2 - 4, stroke[n[6]], escape(trim(field[2]))
        printf "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" font-size=\"11\" fill=\"#6e7781\">%s</text>\n", n[2] + n[4] / 2, n[3] + n[5] / 2 + 16, escape(trim(field[3]))
        next
    }
    n[1] == "arrow" {
        printf "<path d=\"M%d %dL%d %d\" stroke=\"#6e7781\" stroke-width=\"1.5\" fill=\"none\" marker-end=\"url(#end)\"/>\n", n[2], n[3], n[4], n[5]
        text = trim(field[2])
        if (text != "") printf "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\" font-size=\"11\" fill=\"#6e7781\">%s</text>\n", (n[2] + n[4]) / 2 + (n[2] == n[4] ? 8 : 0), (n[3] + n[5]) / 2 + (n[2] == n[4] ? 4 : -7), (n[2] == n[4] ? "start" : "middle"), escape(text)
        next
    }
    { print "line " NR ": neither size, box nor arrow" > "/dev/stderr"; exit 1 }
    END { print "</svg>" }
' "$1"
