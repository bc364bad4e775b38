// The rows of segments in deep storage, read by the classes that a Historical reads them with. Started as
// `java -cp … Rows.java COLUMN FOLDER…`; says on standard output, a line each, the column's number in every row.

import java.io.File;
import java.io.PrintStream;
import org.apache.druid.jackson.DefaultObjectMapper;
import org.apache.druid.segment.ColumnValueSelector;
import org.apache.druid.segment.IndexIO;
import org.apache.druid.segment.QueryableIndex;
import org.apache.druid.segment.SimpleAscendingOffset;
import org.apache.druid.segment.column.BaseColumn;
import org.apache.druid.segment.column.ColumnConfig;

public class Rows
{
  public static void main(String[] args) throws Exception
  {
    IndexIO io = new IndexIO(new DefaultObjectMapper(), ColumnConfig.DEFAULT);
    PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false, "UTF-8");
    for (int i = 1; i < args.length; i++) {
      try (QueryableIndex segment = io.loadIndex(new File(args[i]));
           BaseColumn column = segment.getColumnHolder(args[0]).getColumn()) {
        SimpleAscendingOffset row = new SimpleAscendingOffset(segment.getNumRows());
        ColumnValueSelector<?> number = column.makeColumnValueSelector(row);
        for (; row.withinBounds(); row.increment()) {
          out.println("row: " + number.getLong());
        }
      }
    }
    out.flush();
  }
}
