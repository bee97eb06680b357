"""Surveys: which of these devices can be linked, as what, and why not.

findings.py   what is found out about a device, as frozen values
verdict.py    from findings to a verdict and a reason code. Pure
sites.py      which devices share a line, and one stream at a time on each
measure.py    one stream, pulled for a while and measured
runner.py     `Survey`: reads every device, measures a stream of each, judges
desk.py       `SurveyDesk`: the surveys of a server, a few at a time, forgotten after a while
report.py     rows as JSON, CSV and lines for a terminal. Pure
progress.py   a survey followed on a terminal or a pipe
What talks to devices is handed in (`runner.SurveyDrivers`): this package imports neither ONVIF nor RTSP.
"""

from mediasrv.survey.desk import SurveyDesk, SurveyState
from mediasrv.survey.findings import DeviceReading, Findings, StreamFindings, Target
from mediasrv.survey.runner import Row, Survey, SurveyDrivers
from mediasrv.survey.verdict import Limits, Verdict, judge

__all__ = [
    "DeviceReading",
    "Findings",
    "Limits",
    "Row",
    "StreamFindings",
    "Survey",
    "SurveyDesk",
    "SurveyDrivers",
    "SurveyState",
    "Target",
    "Verdict",
    "judge",
]
