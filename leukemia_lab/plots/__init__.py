"""The plots of a report, drawn as inline SVG that follows the theme of its page."""
